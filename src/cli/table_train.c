/* The options of limn train (the commands themselves are in table.c). */
#include "cli/commands.h"

const option train_tokenizer_table[] = {
    {.name = "data",
     .argument = "DATA",
     .kind = OPTION_LIST,
     .complete = COMPLETE_FILE,
     .help = "The same as DATA: captioned pictures. May be repeated."},
    {.name = "output",
     .letter = 'o',
     .argument = "OUT.gguf",
     .kind = OPTION_TEXT,
     .complete = COMPLETE_FILE,
     .required = true,
     .help = "File to write."},
    {.name = "overwrite",
     .help = "Replace OUT.gguf where it is there already, which is refused otherwise, unless it is a tokenizer alone."},
    {.name = "vocabulary",
     .argument = "N",
     .kind = OPTION_INTEGER,
     .min = 258,
     .max = 1e6,
     .help = "Tokens to make, <pad>, <img> and the 256 bytes among them. Default: 16384."},
    {.name = "min-frequency",
     .argument = "N",
     .kind = OPTION_INTEGER,
     .min = 1,
     .max = 1e9,
     .help = "Join only pairs that occur so many times. Default: 2."},
    {.name = "lowercase", .help = "Make no difference between capital and small letters."},
    OPTIONS_END,
};

/* Options of all commands that learn from pictures. */
#define TRAIN_RUN TRAIN_DATA, TRAIN_OUTPUT, TRAIN_INIT, TRAIN_STEPS
#define TRAIN_DATA                                                                                                     \
    {                                                                                                                  \
        .name = "data", .argument = "DATA", .kind = OPTION_LIST, .complete = COMPLETE_FILE,                            \
        .help = "The same as DATA: pictures, with captions where text is learned. May be repeated."                    \
    }
#define TRAIN_OUTPUT                                                                                                   \
    {                                                                                                                  \
        .name = "output", .letter = 'o', .argument = "OUT.gguf", .kind = OPTION_TEXT, .complete = COMPLETE_FILE,       \
        .required = true,                                                                                              \
        .help = "Model to write. Beside it: OUT.gguf.checkpoint, OUT.gguf.csv (a line a step), OUT.gguf.events "       \
                "(tensorboard --logdir OUT.gguf.events) and OUT.gguf.png (sample pictures)."                           \
    }
#define TRAIN_INIT                                                                                                     \
    {                                                                                                                  \
        .name = "init", .argument = "FILE", .kind = OPTION_TEXT, .complete = COMPLETE_FILE,                            \
        .help = "Begin from the weights of this model file instead of new ones. Of the same sizes; but dalle takes "   \
                "over the sizes of the file's transformer, whatever its kind and type (imported ones too: see "        \
                "convert), and its codec and tokenizer where no others are given. What it writes is F32. A model "     \
                "that reads classes wants captions that are their numbers."                                            \
    }
#define TRAIN_STEPS                                                                                                    \
    {.name = "resume",                                                                                                 \
     .help = "Go on from OUT.gguf.checkpoint, with the same data, seed and sizes. Where a run was killed before "      \
             "its first checkpoint, it begins anew."},                                                                 \
        {.name = "overwrite",                                                                                          \
         .help = "Begin anew and replace what an earlier run left: model, checkpoint, log and event files. Without "   \
                 "it, and without --resume, that is refused."},                                                        \
        {.name = "steps",                                                                                              \
         .argument = "N",                                                                                              \
         .kind = OPTION_INTEGER,                                                                                       \
         .min = 1,                                                                                                     \
         .max = 1e12,                                                                                                  \
         .help = "Steps in all. Default: 5000; 3000 (clip), 1000 (lora, unet)."},                                      \
        {.name = "save-every",                                                                                         \
         .argument = "N",                                                                                              \
         .kind = OPTION_INTEGER,                                                                                       \
         .min = 1,                                                                                                     \
         .max = 1e12,                                                                                                  \
         .help = "Steps between checkpoints. Default: 500."},                                                          \
        {.name = "sample-every",                                                                                       \
         .argument = "N",                                                                                              \
         .kind = OPTION_INTEGER,                                                                                       \
         .min = 0,                                                                                                     \
         .max = 1e12,                                                                                                  \
         .help = "Steps between sample pictures; 0: none. Default: as --save-every; none (lora, unet)."},              \
        {.name = "batch",                                                                                              \
         .argument = "N",                                                                                              \
         .kind = OPTION_INTEGER,                                                                                       \
         .min = 1,                                                                                                     \
         .max = 65536,                                                                                                 \
         .help = "Pictures that go through the model at once, of each process under mpirun. Where there is no memory " \
                 "for them, an error says how many there is memory for. Default: 32 (codec), 48 (dalle), 128 "         \
                 "(clip), 1 (lora, unet)."},                                                                           \
        {.name = "accumulate",                                                                                         \
         .argument = "N",                                                                                              \
         .kind = OPTION_INTEGER,                                                                                       \
         .min = 1,                                                                                                     \
         .max = 65536,                                                                                                 \
         .help = "Batches in a step, whose gradients are averaged: as a batch of N times as many pictures, in the "    \
                 "memory of one, but for a dvae's --usage term, which is each batch's own. Not for vqvae, vqgan and "  \
                 "clip, which look at whole batches. Default: 1."},                                                    \
        {.name = "seed",                                                                                               \
         .argument = "S",                                                                                              \
         .kind = OPTION_SEED,                                                                                          \
         .help = "Seed of the weights, the order and the noise. Default: 1."},                                         \
        {.name = "lr",                                                                                                 \
         .argument = "X",                                                                                              \
         .kind = OPTION_NUMBER,                                                                                        \
         .min = 0,                                                                                                     \
         .max = 10,                                                                                                    \
         .help = "Largest learning rate. Default: 0.001; 0.0001 (lora, unet)."},                                       \
        {.name = "warm-up",                                                                                            \
         .argument = "N",                                                                                              \
         .kind = OPTION_INTEGER,                                                                                       \
         .min = 0,                                                                                                     \
         .max = 1e12,                                                                                                  \
         .help = "Steps until the learning rate is at its largest."},                                                  \
        {.name = "decay",                                                                                              \
         .argument = "X",                                                                                              \
         .kind = OPTION_NUMBER,                                                                                        \
         .min = 0,                                                                                                     \
         .max = 10,                                                                                                    \
         .help = "Weight decay of AdamW, which biases and norms are spared."},                                         \
        {.name = "clip",                                                                                               \
         .argument = "X",                                                                                              \
         .kind = OPTION_NUMBER,                                                                                        \
         .min = 0,                                                                                                     \
         .max = 1e9,                                                                                                   \
         .help = "Largest norm of the gradient; 0: any."},                                                             \
    {                                                                                                                  \
        .name = "average", .argument = "X", .kind = OPTION_NUMBER, .min = 0, .max = 1,                                 \
        .help = "Decay of the averaged weights that the model file gets, such as 0.999; 0: none."                      \
    }

const option train_codec_table[] = {
    TRAIN_RUN,
    {.name = "kind",
     .argument = "KIND",
     .kind = OPTION_CHOICE,
     .words = "dvae|vqvae|vqgan",
     .help =
         "dvae (the default): relaxed choices. vqvae: the nearest entry of the codebook. vqgan: a vqvae with a patch "
         "discriminator and a perceptual loss."},
    {.name = "loss",
     .argument = "LOSS",
     .kind = OPTION_CHOICE,
     .words = "l1+l2|l1|l2|logit-laplace",
     .help = "Of the reconstruction; logit-laplace: the density of DALL-E's appendix. Default: l1+l2."},
    {.name = "upsampling",
     .argument = "HOW",
     .kind = OPTION_CHOICE,
     .words = "transposed|nearest",
     .help = "How the decoder doubles: transposed convolutions (the default), or pixels twice and a convolution."},
    {.name = "size",
     .argument = "PIXELS",
     .kind = OPTION_INTEGER,
     .min = 8,
     .max = 4096,
     .help = "Width and height of the pictures. Default: 64."},
    {.name = "codes",
     .argument = "K",
     .kind = OPTION_INTEGER,
     .min = 2,
     .max = 1e6,
     .help = "Size of the codebook. Default: 1024."},
    {.name = "code-dim",
     .argument = "N",
     .kind = OPTION_INTEGER,
     .min = 1,
     .max = 65536,
     .help = "Width of a codebook row. Default: 96."},
    {.name = "encoder",
     .argument = "CHANNELS",
     .kind = OPTION_TEXT,
     .help = "Channels after each halving, such as 32,64,128."},
    {.name = "decoder",
     .argument = "CHANNELS",
     .kind = OPTION_TEXT,
     .help = "Channels before each doubling, such as 128,64,32."},
    {.name = "blocks",
     .argument = "N",
     .kind = OPTION_INTEGER,
     .min = 0,
     .max = 16,
     .help = "Residual blocks in encoder and decoder. Default: 3."},
    {.name = "encoder-blocks",
     .argument = "N",
     .kind = OPTION_INTEGER,
     .min = 0,
     .max = 16,
     .help =
         "Those of the encoder alone. With few of them a code depends on the pixels nearby alone: things keep their "
         "codes beside other things."},
    {.name = "block-width",
     .argument = "N",
     .kind = OPTION_INTEGER,
     .min = 1,
     .max = 65536,
     .help = "Their inner width. Default: 64."},
    {.name = "tau-end",
     .argument = "X",
     .kind = OPTION_NUMBER,
     .min = 1e-3,
     .max = 10,
     .help = "dvae: last temperature of the Gumbel-Softmax relaxation, from 1. Default: 0.0625."},
    {.name = "tau-share",
     .argument = "X",
     .kind = OPTION_NUMBER,
     .min = 1e-3,
     .max = 1,
     .help = "dvae: share of the steps in which it gets there. Default: 0.5."},
    {.name = "kl",
     .argument = "X",
     .kind = OPTION_NUMBER,
     .min = 0,
     .max = 1e6,
     .help = "dvae: weight of the KL to the uniform prior at the end. Default: 0."},
    {.name = "usage",
     .argument = "X",
     .kind = OPTION_NUMBER,
     .min = 0,
     .max = 1e6,
     .help = "dvae: weight of the entropy with which codes are used, at the start. Default: 0.05."},
    {.name = "straight-through", .help = "dvae: decode hard codes, with the gradient of soft ones."},
    {.name = "commitment",
     .argument = "X",
     .kind = OPTION_NUMBER,
     .min = 0,
     .max = 1e6,
     .help = "vqvae, vqgan: weight of the encoder's distance to the codes. Default: 0.25."},
    {.name = "codebook",
     .argument = "HOW",
     .kind = OPTION_CHOICE,
     .words = "ema|gradient",
     .help =
         "vqvae, vqgan: the codebook follows running means of the encoder's vectors (ema, the default), or learns by "
         "gradients."},
    {.name = "codebook-decay",
     .argument = "X",
     .kind = OPTION_NUMBER,
     .min = 0,
     .max = 1,
     .help = "vqvae, vqgan: decay of the running counts and means. Default: 0.99."},
    {.name = "restart",
     .argument = "X",
     .kind = OPTION_NUMBER,
     .min = 0,
     .max = 1,
     .help = "vqvae, vqgan: a code used less than this share of the mean starts again from a vector of the batch; 0: "
             "none does. Default: 0.1."},
    {.name = "discriminator",
     .argument = "CHANNELS",
     .kind = OPTION_TEXT,
     .help = "vqgan: channels of the patch discriminator after each halving. Default: 32,64,128."},
    {.name = "discriminator-start",
     .argument = "N",
     .kind = OPTION_INTEGER,
     .min = 0,
     .max = 1e12,
     .help = "vqgan: the step from which on it is there. Default: half of the steps."},
    {.name = "discriminator-weight",
     .argument = "X",
     .kind = OPTION_NUMBER,
     .min = 0,
     .max = 1e6,
     .help = "vqgan: size of its gradient beside that of the reconstruction, at the decoder's last layer. "
             "Default: 0.8."},
    {.name = "perceptual",
     .argument = "FILE",
     .kind = OPTION_TEXT,
     .complete = COMPLETE_FILE,
     .help = "vqgan: model file of limn's whose codec sees for a perceptual loss: the distance between its encoder's "
             "features of picture and reconstruction."},
    {.name = "perceptual-weight",
     .argument = "X",
     .kind = OPTION_NUMBER,
     .min = 0,
     .max = 1e6,
     .help = "vqgan: weight of that loss. Default: 1."},
    {.name = "crop",
     .argument = "X",
     .kind = OPTION_NUMBER,
     .min = 0,
     .max = 1,
     .help = "Random crops with sides of at least this share; 0: none."},
    {.name = "flip", .help = "Mirror every other picture."},
    OPTIONS_END,
};

const option train_dalle_table[] = {
    TRAIN_RUN,
    {.name = "codec",
     .argument = "FILE",
     .kind = OPTION_TEXT,
     .complete = COMPLETE_FILE,
     .help = "Model file whose codec makes the codes. Default: that of --init."},
    {.name = "tokenizer",
     .argument = "FILE",
     .kind = OPTION_TEXT,
     .complete = COMPLETE_FILE,
     .help = "Model file with the tokenizer, of any kind (limn train tokenizer makes one). Default: that of --init."},
    {.name = "dim", .argument = "N", .kind = OPTION_INTEGER, .min = 1, .max = 65536, .help = "Width. Default: 256."},
    {.name = "heads", .argument = "N", .kind = OPTION_INTEGER, .min = 1, .max = 1024, .help = "Heads. Default: 4."},
    {.name = "layers", .argument = "N", .kind = OPTION_INTEGER, .min = 1, .max = 1024, .help = "Blocks. Default: 8."},
    {.name = "mlp",
     .argument = "N",
     .kind = OPTION_INTEGER,
     .min = 1,
     .max = 1e6,
     .help = "Inner width of a block. Default: 4 times the width."},
    {.name = "text-length",
     .argument = "N",
     .kind = OPTION_INTEGER,
     .min = 2,
     .max = 65536,
     .help =
         "Positions for text, [IMG] among them. A caption that is longer loses its end, in training and, the same, in "
         "generate, with a warning. Default: 24."},
    {.name = "text-weight",
     .argument = "X",
     .kind = OPTION_NUMBER,
     .min = 0,
     .max = 1,
     .help = "Weight of the loss on text; that on codes has the rest. Default: 0.125."},
    {.name = "condition-dropout",
     .argument = "X",
     .kind = OPTION_NUMBER,
     .min = 0,
     .max = 1,
     .help = "Share of captions left empty, so that guidance works. Default: 0."},
    {.name = "bpe-dropout",
     .argument = "P",
     .kind = OPTION_NUMBER,
     .min = 0,
     .max = 1,
     .help = "Chance that a merge of the tokenizer is left out, so that words come in other pieces each time; 0.1 is "
             "usual. Default: 0."},
    {.name = "lora",
     .argument = "RANK",
     .kind = OPTION_INTEGER,
     .min = 1,
     .max = 65536,
     .help =
         "Train low-rank adapters (LoRA, Hu et al. 2021) of this rank for the products of all blocks, and leave the "
         "weights of --init as they are, of whatever type: 8 to 64 are usual. -o names a folder, which gets PEFT's "
         "adapter_model.safetensors and adapter_config.json, for generate --lora."},
    {.name = "codes",
     .argument = "FILE.npy",
     .kind = OPTION_TEXT,
     .complete = COMPLETE_FILE,
     .help = "Codes of the pictures, made elsewhere, for codecs that can't encode: int32 [pictures, cells], in the "
             "order of the data."},
    {.name = "codes-cache",
     .argument = "FILE",
     .kind = OPTION_TEXT,
     .complete = COMPLETE_FILE,
     .help =
         "Where the codes of the pictures are kept between starts, for this codec. Those of pictures that are new or "
         "have changed are made then. Default: OUT.gguf.codes."},
    {.name = "recompute",
     .help = "Do each block again in the backward pass instead of keeping what it made: less memory, the same result. "
             "It is done without being asked for where --mem-limit, or the device's memory, is too small otherwise."},
    OPTIONS_END,
};

#define TRAIN_UNET                                                                                                     \
    {.name = "size",                                                                                                   \
     .argument = "WxH",                                                                                                \
     .kind = OPTION_TEXT,                                                                                              \
     .help = "Size of the pictures, of which the largest centred part of that shape is taken: multiples of 8 for "     \
             "Stable Diffusion. Smaller ones take less memory and time. Default: the model's."},                       \
        {.name = "condition-dropout",                                                                                  \
         .argument = "X",                                                                                              \
         .kind = OPTION_NUMBER,                                                                                        \
         .min = 0,                                                                                                     \
         .max = 1,                                                                                                     \
         .help = "Share of captions left empty, as of the pictures that guidance leads away from. Default: 0."},       \
        {.name = "codes-cache",                                                                                        \
         .argument = "FILE",                                                                                           \
         .kind = OPTION_TEXT,                                                                                          \
         .complete = COMPLETE_FILE,                                                                                    \
         .help = "Where the pictures' latents are kept between starts. Those of pictures that are new or have "        \
                 "changed are made then. Default: the output's name with .codes."},                                    \
    {                                                                                                                  \
        .name = "recompute",                                                                                           \
        .help = "Do each block again in the backward pass instead of keeping what it made: less memory, the same "     \
                "result. It is done without being asked for where --mem-limit, or the device's memory, is too small "  \
                "otherwise."                                                                                           \
    }

const option train_lora_table[] = {
    TRAIN_DATA,
    {.name = "output",
     .letter = 'o',
     .argument = "OUT",
     .kind = OPTION_TEXT,
     .complete = COMPLETE_FILE,
     .required = true,
     .help =
         "Folder, which is made, for pytorch_lora_weights.safetensors; or a file NAME.safetensors. Beside the file, "
         "with further endings: .checkpoint, .csv (a line a step), .events (for tensorboard) and .png (sample "
         "pictures)."},
    {.name = "model",
     .letter = 'm',
     .argument = "MODEL",
     .kind = OPTION_TEXT,
     .complete = COMPLETE_FILE,
     .required = true,
     .help = "Model file of a diffusion model (see convert), of any type, which stays as it is."},
    {.name = "rank",
     .argument = "N",
     .kind = OPTION_INTEGER,
     .min = 1,
     .max = 65536,
     .help = "Rank of the adapters: 4 to 64 are usual. Default: 4."},
    {.name = "mlp",
     .help = "Adapters of the layers of MLPs too, beside the attention's queries, keys, values and outputs."},
    TRAIN_UNET,
    TRAIN_STEPS,
    OPTIONS_END,
};

const option train_unet_table[] = {
    TRAIN_RUN,
    TRAIN_UNET,
    OPTIONS_END,
};

const option train_clip_table[] = {
    TRAIN_RUN,
    {.name = "tokenizer",
     .argument = "FILE",
     .kind = OPTION_TEXT,
     .complete = COMPLETE_FILE,
     .required = true,
     .help = "Model file with the tokenizer (limn train tokenizer)."},
    {.name = "codec",
     .argument = "FILE",
     .kind = OPTION_TEXT,
     .complete = COMPLETE_FILE,
     .help = "Model file through whose codec every other picture goes first, since generated pictures look like that."},
    {.name = "shift",
     .argument = "PIXELS",
     .kind = OPTION_INTEGER,
     .min = 0,
     .max = 4096,
     .help = "Move each picture by up to so many pixels. Default: 3."},
    {.name = "size",
     .argument = "PIXELS",
     .kind = OPTION_INTEGER,
     .min = 1,
     .max = 4096,
     .help = "Width and height of the pictures. Default: 64."},
    {.name = "patch",
     .argument = "PIXELS",
     .kind = OPTION_INTEGER,
     .min = 1,
     .max = 4096,
     .help = "Width and height of a patch, which divides the size. Default: 8."},
    {.name = "dim",
     .argument = "N",
     .kind = OPTION_INTEGER,
     .min = 1,
     .max = 65536,
     .help = "Width of the joint space. Default: 128."},
    {.name = "width",
     .argument = "N",
     .kind = OPTION_INTEGER,
     .min = 1,
     .max = 65536,
     .help = "Width of the image tower. Default: 128."},
    {.name = "layers",
     .argument = "N",
     .kind = OPTION_INTEGER,
     .min = 1,
     .max = 1024,
     .help = "Blocks of the image tower. Default: 4."},
    {.name = "text-width",
     .argument = "N",
     .kind = OPTION_INTEGER,
     .min = 1,
     .max = 65536,
     .help = "Width of the text tower. Default: 128."},
    {.name = "text-layers",
     .argument = "N",
     .kind = OPTION_INTEGER,
     .min = 1,
     .max = 1024,
     .help = "Blocks of the text tower. Default: 2."},
    {.name = "heads",
     .argument = "N",
     .kind = OPTION_INTEGER,
     .min = 1,
     .max = 1024,
     .help = "Heads of both towers. Default: 4."},
    {.name = "text-length",
     .argument = "N",
     .kind = OPTION_INTEGER,
     .min = 2,
     .max = 65536,
     .help = "Positions for text, its end among them. A caption that is longer loses its end, with a warning. Default: "
             "24."},
    OPTIONS_END,
};
