/* What was likely meant by an option or a command that limn doesn't have. */
#include "cli/hints.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

/* ---- what other programs call it ------------------------------------------------------------------------------ */

/* A row counts where the command's name begins with `command`, and where it is none of limn's own options.  target is
 * the option that does it; where the command doesn't have that, or it is NULL, `text` says what to do instead, and
 * where that is NULL too, the next row is asked. */
typedef struct meaning {
    const char *command, *words, *target, *text;
} meaning;

#define SIZE_OF_MODEL "pictures have the model's size, which limn inspect MODEL shows"

static const meaning option_meanings[] = {
    {"generate", "prompt|p|text|caption", NULL, "the prompt is an argument of its own: limn generate \"a cat\""},
    {"generate", "negative|negative-prompt|neg|neg-prompt|n-prompt|uncond|un|uc", "negative",
     "limn has no negative prompts"},
    {"generate", "prompt-file|from-file|file|f|prompts-file", "prompts", NULL},
    {"generate",
     "steps|num-steps|num-inference-steps|inference-steps|sampling-steps|sample-steps|ddim-steps|n-steps|iterations",
     "steps", NULL},
    {"generate", "sampler-name|sampling-method|sampling|scheduler|schedule|solver|method|ddim|plms|dpm|k-diffusion",
     "sampler", NULL},
    {"generate",
     "cfg|cfg-scale|cfg-guidance|guidance-scale|scale|cond-scale|supercondition-factor|unconditional-guidance-scale|C",
     "guidance", NULL},
    {"generate", "size|width|height|w|W|H|resolution|res|image-size|img-size|aspect|aspect-ratio|ar|pixels", "size",
     NULL},
    {"generate", "grid-size|rows|cols|columns", "grid", NULL},
    {"generate",
     "batch|batch-size|batch-count|b|num|number|num-images|num-pictures|num-samples|num-outputs|num-images-per-prompt|"
     "n-images|n-iter|n-samples|samples|images|pictures|niter",
     "count", NULL},
    {"generate", "strength|denoising-strength|denoise|img-strength|image-strength", "strength", NULL},
    {"generate", "loras|lora-path|lora-weights|lora-scale|adapter|adapters|peft", "lora", NULL},
    {"generate", "embeddings|textual-inversion|textual-inversions|ti", "embedding", NULL},
    {"generate", "lora-model-dir|embd-dir|controlnet|control-net|hypernetwork|vae", NULL,
     "limn has none of these: the model file is all there is, beside --lora and --embedding"},
    {"generate", "upscale|upscaler|upscale-model|esrgan|gfpgan|hires|hires-fix|hr", NULL,
     "limn doesn't enlarge pictures: " SIZE_OF_MODEL},
    {"generate", "mask-image|mask-img|inpaint|inpainting", "mask", NULL},
    {"generate",
     "init-image|init-img|init|image|img|i|I|img2img|input|input-image|in-image|reference|image-prompts|initial-image",
     "image-prompt", NULL},
    {"generate", "temp", "temperature", NULL},
    {"generate", "random|random-seed|randomize", NULL, "the seed is random where --seed isn't given"},
    {"generate", "s|S", "seed", NULL},
    {"generate", "k", "top-k", NULL},
    {"generate",
     "fp16|half|bf16|fp32|float16|float32|precision|dtype|wtype|no-half|full-precision|quant|quantize|quantization",
     NULL,
     "the weights have the type of the model file: limn convert MODEL -o OUT.gguf --type f16 (or q8_0) makes another"},

    {"train", "learning-rate|alpha", "lr", NULL},
    {"train lora", "lora|lora-rank|lora-r|r|network-dim|dim", "rank", NULL},
    {"train", "lora-rank|lora-r|rank|peft|adapter", "lora", NULL},
    {"train", "batch-size|bs|b|train-batch-size|per-device-batch-size|micro-batch", "batch", NULL},
    {"train", "epochs|epoch|num-epochs|num-train-epochs|max-epochs|n-epochs", "steps",
     "captions are read once: there are no epochs"},
    {"train", "max-steps|train-steps|max-train-steps|num-steps|n-steps|iterations|iters|niter|n-iter", "steps", NULL},
    {"train",
     "dataset|datasets|data-dir|data-path|dataset-path|dataset-dir|dataset-name|train-data|train-data-dir|train-dir|"
     "instance-data-dir|image-dir|images|image-folder|image-text-folder|pictures|folder|dir|input|i|captions",
     "data", NULL},
    {"train", "resume-from-checkpoint|resume-from|continue|restore|auto-resume", "resume", NULL},
    {"train", "gradient-accumulation-steps|gradient-accumulation|grad-accum|accumulation|ga-steps", "accumulate", NULL},
    {"train", "gradient-checkpointing|activation-checkpointing|checkpointing|reversible", "recompute", NULL},
    {"train", "ema|ema-decay|use-ema", "average", NULL},
    {"train", "weight-decay|wd", "decay", NULL},
    {"train", "warmup|warmup-steps|warm-up-steps|lr-warmup|lr-warmup-steps", "warm-up", NULL},
    {"train", "max-grad-norm|grad-clip|grad-norm|clip-grad|clip-grad-norm|gradient-clip|gradient-clipping|clip-norm",
     "clip", NULL},
    {"train",
     "save-steps|save-interval|save-freq|save-every-n-steps|checkpointing-steps|checkpoint-every|checkpoint-interval",
     "save-every", NULL},
    {"train", "sample-interval|sample-steps|sample-freq|validation-steps|preview-every", "sample-every", NULL},
    {"train", "vocab|vocab-size|vocabulary-size|n-vocab|num-tokens|size", "vocabulary", NULL},
    {"train", "min-freq|minimum-frequency", "min-frequency", NULL},
    {"train", "lower|lower-case|uncased|do-lower-case", "lowercase", NULL},
    {"train", "depth|n-layers|n-layer|num-layers|num-hidden-layers", "layers", NULL},
    {"train", "n-heads|n-head|num-heads|attention-heads|num-attention-heads", "heads", NULL},
    {"train", "hidden-size|hidden|n-embd|d-model|embed-dim|embedding-size", "dim", NULL},
    {"train", "size|image-size|img-size|resolution|res|width|height", "size",
     "the codec decides on the size of pictures"},
    {"train", "num-tokens|codebook-size|n-embed|num-codes|n-codes|num-embeddings", "codes", NULL},
    {"train", "codebook-dim|embedding-dim", "code-dim", NULL},
    {"train", "num-resnet-blocks|num-blocks|res-blocks", "blocks", NULL},
    {"train", "vae|vae-path|vae-model|dvae|vqgan|vqgan-model-path|taming|first-stage", "codec", NULL},
    {"train", "bpe|bpe-path|tokenizer-path|tokenizer-name|tokeniser", "tokenizer", NULL},
    {"train", "text-seq-len|text-len|max-length|max-text-length|seq-len|context-length", "text-length", NULL},
    {"train",
     "pretrained|pretrained-model|pretrained-model-name-or-path|finetune|fine-tune|init-from|from|load|m|model", "init",
     NULL},
    {"train", "fp16|bf16|half|amp|mixed-precision|precision|dtype", NULL, "training computes in F32"},
    {"train", "optimizer|optim|scheduler|lr-scheduler|lr-decay", NULL,
     "the optimiser is AdamW with a warm-up: --lr, --warm-up, --decay"},
    {"train", "wandb|tensorboard|log-dir|logdir|logging-dir|report-to|log", NULL,
     "the log is OUT.gguf.csv, and OUT.gguf.events for TensorBoard"},
    {"train", "num-workers|workers|n-workers|dataloader-workers", NULL, "limn reads ahead by itself"},
    {"train", "nproc|num-processes|world-size|distributed|gpus|n-gpus|ddp", NULL,
     "mpirun -n N limn train … trains with N processes"},

    {"convert", "quantize|quantise|quant|q|outtype|out-type|ftype|wtype|dtype|precision|t|qtype|file-type", "type",
     NULL},
    {"convert", "fp16|f16|half|float16|bf16", NULL, "did you mean --type f16?"},
    {"convert", "fp32|f32|float32|float", NULL, "did you mean --type f32?"},
    {"convert", "q8|q8-0|int8|8bit|load-in-8bit", NULL, "did you mean --type q8_0?"},
    {"convert", "q4|q4-0|int4|4bit|load-in-4bit", NULL, "did you mean --type q4_0?"},
    {"convert", "arch|architecture|model-type|kind", "family", NULL},
    {"convert", "vocab|vocab-file|vocab-dir|merges|bpe|tokenizer-path|tokeniser", "tokenizer", NULL},
    {"convert", "input|in|i|m|model|ckpt|checkpoint", NULL,
     "the files to read are arguments of their own: limn convert FILE… -o OUT.gguf"},
    {"score", "prompt|caption|p", "text", NULL},
    {"score", "picture|img|i", "image", NULL},
    {"inspect", "m|model|input|i|file", NULL, "the file is an argument of its own: limn inspect FILE"},
    {"encode", "input|image|i|img", NULL, "pictures are arguments of their own: limn encode a.png b.png -o codes.npy"},
    {"reconstruct", "input|image|i|img", NULL,
     "the picture is an argument of its own: limn reconstruct a.png -o b.png"},
    {"tokenize", "text|prompt|p", NULL, "the text is an argument of its own: limn tokenize \"a cat\""},

    {"",
     "output-dir|outdir|out-dir|out|output-path|output-folder|output-file|outfile|out-file|save|save-path|save-to|dest",
     "output", NULL},
    {"", "model-path|model-file|model-name|model-id|ckpt|ckpt-path|checkpoint|checkpoint-path|weights|pretrained|load",
     "model", NULL},
    {"", "gpu|use-gpu", NULL, "did you mean --device gpu?"},
    {"", "cpu|use-cpu|no-gpu|no-cuda|force-cpu", NULL, "did you mean --device cpu?"},
    {"", "igpu", NULL, "did you mean --device igpu?"},
    {"", "dgpu", NULL, "did you mean --device dgpu?"},
    {"", "gpu-id|device-id|device-index|main-gpu|dev|cuda-device|opencl-device|platform|platform-id|D", "device", NULL},
    {"", "cuda|use-cuda|rocm|hip|vulkan|metal|mps|xpu|opencl|backend", NULL,
     "limn runs on OpenCL devices: --device chooses one, limn devices lists them"},
    {"", "list-devices|devices|list-gpus", NULL, "limn devices lists them"},
    {"", "vram|lowvram|medvram|low-vram|max-memory|memory|max-vram|offload|cpu-offload|tiled-vae|vae-tiling",
     "mem-limit", NULL},
    {"", "threads|t|num-threads|n-threads|cores|jobs|j", NULL,
     "the device's driver decides how many threads there are"},
    {"", "debug|loud|log-level|loglevel", "verbose", NULL},
    {"", "silent|no-progress|no-log|s", "quiet", NULL},
    {"", "V|ver", "version", NULL},
    {"", "usage|man|?", "help", NULL},
    {"", "force|f|y|yes|clobber", "overwrite", NULL},
    {NULL, NULL, NULL, NULL},
};

/* The second words of train have "train" as their command. */
static const meaning command_meanings[] = {
    {"",
     "txt2img|text2img|text-to-image|text2image|t2i|img2img|image2image|i2i|inpaint|draw|paint|create|make|gen|imagine|"
     "dream|sample|sampling|run|infer|inference|predict|picture|image|images|render|prompt|txt2image",
     "generate", NULL},
    {"", "list|ls|device|gpu|gpus|platforms|clinfo|list-devices|hardware", "devices", NULL},
    {"", "info|show|describe|dump|stat|view|print|header|metadata|model|models-info|gguf-dump", "inspect", NULL},
    {"", "quantize|quantise|quant", NULL, "did you mean limn convert MODEL -o OUT.gguf --type q8_0?"},
    {"", "export|import|to-gguf|pack|merge", "convert", NULL},
    {"", "benchmark|perf|speed|profile|measure", "bench", NULL},
    {"", "test|check|verify|self-test", "selftest", NULL},
    {"", "diagnose|diagnostics|diag|health|troubleshoot|support|bug-report|bugreport", "doctor", NULL},
    {"", "autotune|auto-tune|optimize|optimise|calibrate|tuning", "tune", NULL},
    {"", "fit|finetune|fine-tune|learn|training", "train", NULL},
    {"", "tokens|tokenizer|tokenise|encode-text", "tokenize", NULL},
    {"", "recon|roundtrip|round-trip|autoencode", "reconstruct", NULL},
    {"", "evaluate|eval|likelihood|perplexity|ppl", "score", NULL},
    {"", "rank|clip|rerank", NULL, "limn generate -n 16 --rank CLIP orders pictures, limn train clip makes a CLIP"},
    {"", "lora|dreambooth|train-lora", NULL, "did you mean limn train lora?"},
    {"", "codec|dalle", NULL, "it is a part of train: limn train codec, limn train dalle"},
    {"", "server|web|webui|ui|gui|api|http|app", "serve", NULL},
    {"", "download|pull|fetch|get|install|models|search", NULL,
     "limn downloads nothing: get a model's files, and limn convert makes one file of them"},
    {"", "man|manual|usage|docs|options", "help", NULL},
    {"", "ver|about", "version", NULL},
    {"train", "vae|dvae|autoencoder|vq|stage1", "train codec", NULL},
    {"train", "vqgan", NULL, "did you mean limn train codec --kind vqgan?"},
    {"train", "vqvae|vq-vae", NULL, "did you mean limn train codec --kind vqvae?"},
    {"train", "gpt|transformer|model|prior|generator|stage2", "train dalle", NULL},
    {"train", "bpe|vocab|vocabulary|tokens", "train tokenizer", NULL},
    {NULL, NULL, NULL, NULL},
};

/* ---- letters --------------------------------------------------------------------------------------------------- */

/* Edit distance with transpositions of neighbours (optimal string alignment); long words count as far away. */
static int distance(const char *a, const char *b)
{
    enum { LONGEST = 31 };
    int n = (int)strlen(a), m = (int)strlen(b), d[LONGEST + 1][LONGEST + 1];
    if (n > LONGEST || m > LONGEST)
        return LONGEST;
    for (int i = 0; i <= n; i++) {
        for (int j = 0; j <= m; j++) {
            if (i == 0 || j == 0) {
                d[i][j] = i + j;
                continue;
            }
            int best = d[i - 1][j - 1] + (a[i - 1] != b[j - 1]);
            best = d[i - 1][j] + 1 < best ? d[i - 1][j] + 1 : best;
            best = d[i][j - 1] + 1 < best ? d[i][j - 1] + 1 : best;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && d[i - 2][j - 2] + 1 < best)
                best = d[i - 2][j - 2] + 1;
            d[i][j] = best;
        }
    }
    return d[n][m];
}

/* How far `name` is from what was typed, -1 where that is too far for a guess: a letter in four may be wrong, and of
 * three one.  A beginning of two letters or more counts as near. */
static int unlikeness(const char *typed, const char *name)
{
    int n = (int)strlen(typed), allowed = n < 3 ? 0 : n < 8 ? 1 : n / 4;
    if (n > 1 && strncmp(typed, name, (size_t)n) == 0)
        return 0;
    int d = distance(typed, name);
    return d <= allowed ? d : -1;
}

/* ---- look-up --------------------------------------------------------------------------------------------------- */

/* Whether `word` is one of "a|b|c". */
static bool is_one(const char *words, const char *word)
{
    size_t n = strlen(word);
    for (const char *w = words; n > 0 && w; w = strchr(w, '|') ? strchr(w, '|') + 1 : NULL) {
        if (strncmp(w, word, n) == 0 && (w[n] == '|' || w[n] == '\0'))
            return true;
    }
    return false;
}

/* As limn's own names are: small letters, dashes.  A single letter stays what it is. */
static const char *plain(const char *typed, char out[64])
{
    size_t n = 0;
    for (; typed[n] && n < 63; n++)
        out[n] = typed[n] == '_' ? '-' : typed[1] ? (char)tolower((unsigned char)typed[n]) : typed[n];
    out[n] = '\0';
    return out;
}

static bool has_option(const command *c, const char *name)
{
    const option *tables[2] = {c->options, common_options};
    for (int t = 0; t < 2; t++) {
        for (const option *o = tables[t]; o && o->name; o++) {
            if (strcmp(o->name, name) == 0)
                return true;
        }
    }
    return false;
}

/* The row for a word, and whether its target is there. */
static const meaning *option_meaning(const command *c, const char *word, bool *target)
{
    for (const meaning *m = option_meanings; m->command; m++) {
        if (strncmp(c->name, m->command, strlen(m->command)) != 0 || !is_one(m->words, word))
            continue;
        *target = m->target && has_option(c, m->target);
        if (*target || m->text)
            return m;
    }
    return NULL;
}

const char *hint_option(const command *c, const char *typed, char out[HINT_SIZE])
{
    char word[64];
    bool target = false;
    const char *nearest = NULL;
    plain(typed, word);
    const meaning *m = has_option(c, word) ? NULL : option_meaning(c, word, &target);
    const option *tables[2] = {c->options, common_options};
    for (int t = 0, best = 1000; t < 2 && !m; t++) {
        for (const option *o = tables[t]; o && o->name; o++) {
            int u = unlikeness(word, o->name);
            if (u >= 0 && u < best) {
                best = u;
                nearest = o->name;
            }
        }
    }
    out[0] = '\0';
    if (m && target)
        nearest = m->target;
    if (nearest)
        snprintf(out, HINT_SIZE, "did you mean --%s?", nearest);
    else if (m)
        snprintf(out, HINT_SIZE, "%s", m->text);
    return out;
}

bool hint_is_option(const command *c, const char *typed)
{
    char word[64];
    bool target;
    plain(typed, word);
    return strlen(word) > 2 && (has_option(c, word) || option_meaning(c, word, &target));
}

const char *hint_command(const command *group, const char *typed, char out[HINT_SIZE])
{
    char word[64];
    const char *within = group ? group->name : "", *nearest = NULL;
    out[0] = '\0';
    plain(typed, word);
    for (const meaning *m = command_meanings; m->command; m++) {
        if (strcmp(m->command, within) != 0 || !is_one(m->words, word))
            continue;
        snprintf(out, HINT_SIZE, m->target ? "did you mean %s?" : "%s", m->target ? m->target : m->text);
        return out;
    }
    int best = 1000;
    for (const command *c = command_table; c->name; c++) {
        const char *own = group ? c->name + strlen(group->name) + 1 : c->name;
        if (group ? !command_is_in(c, group) : strchr(c->name, ' ') != NULL)
            continue;
        int u = unlikeness(word, own);
        if (u >= 0 && u < best) {
            best = u;
            nearest = c->name;
        }
    }
    for (const command *c = command_table; c->name && !nearest && !group; c++) /* limn tokenizer */
        nearest = strchr(c->name, ' ') && strcmp(strchr(c->name, ' ') + 1, word) == 0 ? c->name : NULL;
    if (nearest)
        snprintf(out, HINT_SIZE, "did you mean %s?", nearest);
    return out;
}
