/* The commands: one function and one file each; the table with their options is in table.c and table_train.c. */
#ifndef CLI_COMMANDS_H
#define CLI_COMMANDS_H
#include "cli/options.h"

/* Each returns the program's exit code. */
int command_bench(const options *o);
int command_convert(const options *o);
int command_decode(const options *o);
int command_devices(const options *o);
int command_doctor(const options *o);
int command_serve(const options *o);
int command_encode(const options *o);
int command_generate(const options *o);
int command_help(const options *o);
int command_inspect(const options *o);
int command_reconstruct(const options *o);
int command_score(const options *o);
int command_selftest(const options *o);
int command_tokenize(const options *o);
int command_train_clip(const options *o);
int command_train_codec(const options *o);
int command_train_dalle(const options *o);
int command_train_lora(const options *o);
int command_train_tokenizer(const options *o);
int command_train_unet(const options *o);
int command_tune(const options *o);
int command_version(const options *o);

extern const option generate_table[], serve_table[], train_tokenizer_table[], train_codec_table[], train_dalle_table[],
    train_clip_table[], train_lora_table[], train_unet_table[];
#endif
