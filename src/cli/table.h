/* Options that several commands have, for the tables of options. */
#ifndef CLI_TABLE_H
#define CLI_TABLE_H
#include "cli/options.h"

#define MODEL_FILE                                                                                                     \
    {                                                                                                                  \
        .name = "model", .letter = 'm', .argument = "MODEL", .kind = OPTION_TEXT, .complete = COMPLETE_FILE,           \
        .help = "Model file (GGUF, made by limn convert). Without it, the model that is built in."                     \
    }
#define MODEL                                                                                                          \
    MODEL_FILE,                                                                                                        \
    {                                                                                                                  \
        .name = "convert",                                                                                             \
        .help = "Where MODEL is a checkpoint or a folder that limn convert takes, make a model of it in the cache "    \
                "directory, and find it there the next time."                                                          \
    }
#define SIZE                                                                                                           \
    {                                                                                                                  \
        .name = "size", .argument = "WxH", .kind = OPTION_TEXT,                                                        \
        .help = "Size of the pictures, for a model that was trained for several, which limn inspect shows. Default: "  \
                "the first of them."                                                                                   \
    }
#define JSON                                                                                                           \
    {                                                                                                                  \
        .name = "json", .help = "Print JSON."                                                                          \
    }
#define QUALITY                                                                                                        \
    {                                                                                                                  \
        .name = "quality", .argument = "Q", .kind = OPTION_INTEGER, .min = 1, .max = 100,                              \
        .help = "Quality of a JPEG or a WebP, 1 to 100; a WebP of 100 is lossless. Default: 95."                       \
    }
#define LORA                                                                                                           \
    {                                                                                                                  \
        .name = "lora", .argument = "FILE[:SCALE]", .kind = OPTION_LIST, .complete = COMPLETE_FILE,                    \
        .help = "Low-rank adapter of the model's transformer, as PEFT and limn train dalle --lora write them: the "    \
                "folder, or adapter_model.safetensors in it; of Stable Diffusion the file that kohya's or diffusers' " \
                "scripts write, of U-Net and text encoder (LCM's go with --sampler lcm). SCALE: how much of it "       \
                "counts; 1 where it isn't given. May be repeated.",                                                    \
    }
#define EMBEDDING                                                                                                      \
    {                                                                                                                  \
        .name = "embedding", .argument = "FILE[:WORD]", .kind = OPTION_LIST, .complete = COMPLETE_FILE,                \
        .help = "Textual inversion of Stable Diffusion's text encoder, a .pt, .bin or .safetensors as AUTOMATIC1111 "  \
                "and diffusers have them: WORD then stands for its vectors in prompts and negative ones. Default: "    \
                "the file's own token, or its name without ending. May be repeated.",                                  \
    }
#endif
