/* The registry of families: a line for each, in the order in which they are tried.  Help, completions and errors are
 * made of it too. */
#ifndef CONVERT_FAMILIES_H
#define CONVERT_FAMILIES_H

/* EACH(family_NAME, "its name", "what its own settings are, for help, "), with AND between. */
/* clang-format off */
#define IMPORT_FAMILIES(EACH, AND)                                                                                     \
    EACH(family_dalle_pytorch, "dalle-pytorch",                                                                        \
         "stable=1 and attn_types=full,axial_row,axial_col,conv_like (of DALLE-pytorch without hyper-parameters), ")   \
    AND EACH(family_openai_dvae, "openai-dvae", "")                                                                    \
    AND EACH(family_dalle_mini, "dalle-mini", "")                                                                      \
    AND EACH(family_mindalle, "mindalle", "")                                                                          \
    AND EACH(family_rudalle, "rudalle", "version=v2 or v3 (of ruDALL-E), ")                                            \
    AND EACH(family_janus, "janus", "roles=pro or plain (of Janus), ")                                                                              \
    AND EACH(family_simplear, "simplear", "")                                                                          \
    AND EACH(family_llamagen_t2i, "llamagen-t2i", "")                                                                  \
    AND EACH(family_llamagen, "llamagen", "")                                                                          \
    AND EACH(family_amused, "amused", "")                                                                              \
    AND EACH(family_stable_diffusion, "stable-diffusion", "prediction=epsilon or v (of Stable Diffusion), ")           \
    AND EACH(family_unclip, "unclip", "")                                                                              \
    AND EACH(family_taming, "taming", "")                                                                              \
    AND EACH(family_clip, "clip", "")                                                                                  \
    AND EACH(family_limn, "limn", "") /* limn's PyTorch twin: safetensors with config.json beside it */
/* clang-format on */

#define IMPORT_FAMILY_NAME(family, name, settings)     name
#define IMPORT_FAMILY_SETTINGS(family, name, settings) settings
#define IMPORT_FAMILY_ONE(family, name, settings)      1
#define IMPORT_COMMA                                   ,
#define IMPORT_ALL_SETTINGS                            IMPORT_FAMILIES(IMPORT_FAMILY_SETTINGS, )

enum { FAMILIES = IMPORT_FAMILIES(IMPORT_FAMILY_ONE, +) };
#endif
