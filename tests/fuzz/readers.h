/* Every reader of what people bring, as a function of bytes: what libFuzzer runs, and the test of the corpus.
 * A new reader: its line here, its function in readers_*.c, its folder in corpus/, and READER.dict where that helps. */
#ifndef TESTS_FUZZ_READERS_H
#define TESTS_FUZZ_READERS_H
#include <stddef.h>
#include <stdint.h>

/* Each is a program of its own, since what a fuzzer runs must be small.
 *   model           the keys of a GGUF file, as far as a model is opened without a device
 *   kind, convert   what a file is; limn convert of one to three of them, with lines "%%" between them
 *   snapshot        limn convert of a folder: config.json, weights, an index of shards
 *   lora, embedding adapters of a Stable Diffusion (adapter_config.json, or nothing, and the file); words as vectors
 *   diffusers, unclip   the settings in folders of diffusers, a file after the other
 *   torch, pickle   PyTorch's files in both containers; the pickles in them
 *   png, jpeg, webp pictures, their text, and masks made of them
 *   exif            what lies beside the pixels
 *   parameters      the settings that pictures carry as text
 *   prompts         a file of prompts
 *   keep, options   the regions of --keep; command lines, an argument a line
 *   http, request   what limn serve reads of a connection; the fields of a request in JSON
 *   bpe, dalle_mini, char_bpe   vocab.json, merges.txt and a text, with lines "%%" between them
 *   tokenizer_json, clip_bpe, yttm, spiece   the kind's file and a text
 *   text, bpe_train   a text, through tokenizers of all kinds; texts that one is trained on
 *   tar, jsonl, lists, captions, names   data sets: with their own pictures or with lists beside pictures; names with
 *                   braces */
#define READERS(X)                                                                                                     \
    X(gguf)                                                                                                            \
    X(model)                                                                                                           \
    X(safetensors)                                                                                                     \
    X(torch)                                                                                                           \
    X(pickle)                                                                                                          \
    X(zip)                                                                                                             \
    X(kind)                                                                                                            \
    X(npy)                                                                                                             \
    X(convert)                                                                                                         \
    X(snapshot)                                                                                                        \
    X(lora)                                                                                                            \
    X(embedding)                                                                                                       \
    X(diffusers)                                                                                                       \
    X(unclip)                                                                                                          \
    X(png)                                                                                                             \
    X(jpeg)                                                                                                            \
    X(webp)                                                                                                            \
    X(exif)                                                                                                            \
    X(parameters)                                                                                                      \
    X(keep)                                                                                                            \
    X(options)                                                                                                         \
    X(http)                                                                                                            \
    X(request)                                                                                                         \
    X(prompts)                                                                                                         \
    X(bpe)                                                                                                             \
    X(tokenizer_json)                                                                                                  \
    X(dalle_mini)                                                                                                      \
    X(char_bpe)                                                                                                        \
    X(clip_bpe)                                                                                                        \
    X(yttm)                                                                                                            \
    X(spiece)                                                                                                          \
    X(text)                                                                                                            \
    X(bpe_train)                                                                                                       \
    X(tar)                                                                                                             \
    X(jsonl)                                                                                                           \
    X(lists)                                                                                                           \
    X(captions)                                                                                                        \
    X(names)

#define DECLARE(name) void read_##name(const uint8_t *data, size_t size);
READERS(DECLARE)
#undef DECLARE

/* ---- for the readers (support.c) ---- */

/* The path of a file with these bytes; the next call changes it. */
const char *fuzz_file(const void *data, size_t size);
/* The same by its name, in a folder of this process; NULL: the folder's path. */
const char *fuzz_named(const char *name, const void *data, size_t size);
/* The bytes up to the next line "%%", or the last ones: a new string of *n bytes; *data and *size are the rest. */
char *fuzz_part(const uint8_t **data, size_t *size, size_t *n);
/* Ends the program, as a crash does, where something that always holds doesn't. */
#define CHECK(condition) ((condition) ? (void)0 : fuzz_fail(__FILE__, __LINE__, #condition))
_Noreturn void fuzz_fail(const char *file, int line, const char *condition);
#endif
