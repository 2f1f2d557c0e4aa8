/* The table of commands and their options: the one description that parsing, help, man page and completions share. */
#include "cli/table.h"
#include "cli/commands.h"
#include "convert/families.h"

#define RANKS                                                                                                            \
    "mpirun -n 4 limn train … trains with 4 processes, on the devices that SPEC means in turn: a step has 4 batches, " \
    "and the result is that of one process with such a batch, to rounding.\n"
#define PAUSES                                                                                                         \
    "Ctrl-C saves and ends with exit code 0, and --resume goes on; a second Ctrl-C ends at once, and the last "        \
    "checkpoint stays. Where the loss or the gradient is no longer a number, the run ends with an error that names "   \
    "the step, and the checkpoint stays.\n"
#define DATA                                                                                                           \
    "DATA is a folder of PNG, JPEG or WebP files, with what is below it, or such files themselves; a .jsonl file "     \
    "(\"image\" or \"file_name\", and \"caption\", \"captions\", \"text\" or \"prompt\"); or a WebDataset .tar file, " \
    "also compressed. Several may follow each other, and braces name shards: shard-{000000..000012}.tar. The "         \
    "captions of NAME.png are in NAME.txt or NAME.caption, one a line, in NAME.json, or in a .jsonl file or "          \
    "metadata.csv of the folder that has \"file_name\". What can't be used is left out, and told once, by its "        \
    "cause.\n"
const option common_options[] = {
    {.name = "device",
     .letter = 'd',
     .argument = "SPEC",
     .kind = OPTION_TEXT,
     .words = "auto|cpu|gpu|igpu|dgpu|accel",
     .help = "Device to use: auto, an index N or P.D from limn devices, cpu, gpu, igpu, dgpu, accel, a part of its "
             "name, or A&B where both must match. Default: LIMN_DEVICE from the environment, else auto."},
    {.name = "mem-limit",
     .argument = "SIZE",
     .kind = OPTION_SIZE,
     .help = "Device memory that limn may use: bytes, or 512M, 1.5G. Default: what the device reports less a sixteenth "
             "(from 256 MiB to 2 GiB), which the desktop may want; more than that helps where it reports too little, "
             "as some integrated graphics do. Weights count where "
             "they are read in place, too. A transformer that doesn't fit stays in its file, and its layers are copied "
             "while others compute: slower, with the same result; generate then says how much slower. A picture that "
             "doesn't fit is decoded by tiles where the codec allows it. -v shows the plan."},
    {.name = "no-cache", .help = "Neither read nor write the cache of compiled kernels."},
    {.name = "profile",
     .help = "Time every kernel: a table on stderr, and a timeline in limn-trace.json in the current directory."},
    {.name = "verbose", .letter = 'v', .help = "Say more on stderr: information, debugging, and what drivers print."},
    {.name = "quiet", .letter = 'q', .help = "Say nothing but errors, and draw no progress."},
    {.name = "help", .letter = 'h', .help = "Print help and exit."},
    {.name = "version", .letter = 'V', .help = "Print the version and exit."},
    OPTIONS_END,
};

static const option devices_options[] = {
    JSON,
    {.name = "why",
     .help = "Explain what is there and what isn't: each driver file and what its driver does when it is asked alone, "
             "the GPUs that the system sees, permissions, caches, variables of the environment, and what to do."},
    OPTIONS_END,
};

static const option encode_options[] = {
    MODEL,
    SIZE,
    {.name = "output",
     .letter = 'o',
     .argument = "CODES.npy",
     .kind = OPTION_TEXT,
     .complete = COMPLETE_FILE,
     .required = true,
     .help = "Codes to write: int32 [n, h*w]; of diffusion models latents, float32 [n, channels, h, w]."},
    {.name = "logits-out",
     .argument = "FILE.npy",
     .kind = OPTION_TEXT,
     .complete = COMPLETE_FILE,
     .help = "Write the logits of q(z|x) too, of a vqvae minus the squared distances to its codes: float32 "
             "[n, K, h, w]."},
    OPTIONS_END,
};

static const option decode_options[] = {
    MODEL,
    SIZE,
    {.name = "output",
     .letter = 'o',
     .argument = "OUT.png|OUT.npy",
     .kind = OPTION_TEXT,
     .complete = COMPLETE_FILE,
     .required = true,
     .help = "Picture to write, .png, .jpg, .webp, or - (several rows: OUT-1.png to OUT-N.png, numbers of one width), "
             "or all of them as an "
             "array before rounding: "
             "float32 [n, 3, H, W] in 0..1."},
    QUALITY,
    OPTIONS_END,
};

static const option reconstruct_options[] = {
    MODEL,
    SIZE,
    {.name = "output",
     .letter = 'o',
     .argument = "OUT.png",
     .kind = OPTION_TEXT,
     .complete = COMPLETE_FILE,
     .required = true,
     .help = "Picture to write: .png, .jpg or .webp, or - for standard output (a PNG)."},
    QUALITY,
    OPTIONS_END,
};

static const option score_options[] = {
    MODEL,
    SIZE,
    {.name = "text", .argument = "T", .kind = OPTION_TEXT, .either = 1, .help = "The text."},
    {.name = "text-ids",
     .argument = "FILE.npy",
     .kind = OPTION_TEXT,
     .complete = COMPLETE_FILE,
     .either = 1,
     .help =
         "Token ids of the text in place of the text itself: int32 [n, T] or [T], the model's own ids, padded or not."},
    {.name = "image",
     .argument = "IMG",
     .kind = OPTION_TEXT,
     .complete = COMPLETE_FILE,
     .either = 2,
     .help = "The picture. It is cut to the model's shape and resized."},
    {.name = "codes",
     .argument = "FILE.npy",
     .kind = OPTION_TEXT,
     .complete = COMPLETE_FILE,
     .either = 2,
     .help = "Codes in place of the picture: int32 [n, h*w], [h*w] or [n, h, w]. Models that fill all cells at once "
             "read -1 as a masked cell; what is likely is said of the others, which they see."},
    {.name = "logits-out",
     .argument = "FILE.npy",
     .kind = OPTION_TEXT,
     .complete = COMPLETE_FILE,
     .help = "Write the logits that predict each image code: float32 [n, h*w, K]."},
    LORA,
    JSON,
    OPTIONS_END,
};

static const option tokenize_options[] = {MODEL, JSON, OPTIONS_END};

static const option convert_options[] = {
    {.name = "output",
     .letter = 'o',
     .argument = "OUT.gguf",
     .kind = OPTION_TEXT,
     .complete = COMPLETE_FILE,
     .required = true,
     .help = "Model file to write."},
    {.name = "family",
     .argument = "NAME",
     .kind = OPTION_TEXT,
     .words = IMPORT_FAMILIES(IMPORT_FAMILY_NAME, "|"),
     .help = "Family of the model: " IMPORT_FAMILIES(IMPORT_FAMILY_NAME, ", ") ". Default: recognised by its tensors."},
    {.name = "type",
     .argument = "TYPE",
     .kind = OPTION_CHOICE,
     .words = "f32|f16|q8_0|q4_0",
     .help = "Type of the large weights: f32, f16, q8_0 or q4_0. Default: as in the input, BF16 as f16. "
             "A tensor whose values f16 can't hold stays f32, and is named."},
    {.name = "set",
     .argument = "KEY=VALUE",
     .kind = OPTION_LIST,
     .help = "A setting that the files don't tell: image_size=256 (of a codec), heads=24 (of a "
             "transformer), " IMPORT_ALL_SETTINGS
             "temperature, top_k, top_p, guidance, steps, name, license. And what to take: ema=0 (not the "
             "averaged weights, which are preferred), part=PREFIX (of several sets of weights), ignore=NAME (leave out "
             "tensors whose names begin so). May be repeated."},
    {.name = "tokenizer",
     .argument = "PATH",
     .kind = OPTION_TEXT,
     .complete = COMPLETE_FILE,
     .help = "The tokenizer's file (of DALLE-pytorch bpe_simple_vocab_16e6.txt, or a tokenizer.json), or the directory "
             "of its files (of a single file of Stable Diffusion: tokenizer/ of a folder of diffusers). "
             "Default: those beside the input."},
    OPTIONS_END,
};

static const option inspect_options[] = {JSON, OPTIONS_END};
static const option bench_options[] = {
    MODEL_FILE,
    JSON,
    {.name = "list", .help = "Print the names of the measurements, and which of them are the default."},
    {.name = "compare",
     .argument = "FILE",
     .kind = OPTION_TEXT,
     .complete = COMPLETE_FILE,
     .help = "The output of an earlier limn bench --json: each row says how many times as fast it is now."},
    {.name = "seconds",
     .argument = "S",
     .kind = OPTION_NUMBER,
     .min = 0,
     .max = 1e6,
     .help = "End a generation after so long: its rate is then that of its first lines. Default: whole pictures."},
    {.name = "predict",
     .argument = "PROFILE",
     .kind = OPTION_TEXT,
     .words = "iris_xe|780m|rtx3060|uhd620",
     .help = "Measure nothing, and predict on a GPU that needn't be there: iris_xe, 780m, rtx3060, uhd620, one of them "
             "with other numbers (iris_xe,gbytes=68), or numbers alone: gflops=2000,gbytes=60,units=96, and "
             "launch_us=4-10, isa=gen9, gen12, rdna or ampere."},
    OPTIONS_END,
};

static const option doctor_options[] = {
    {.name = "output",
     .letter = 'o',
     .argument = "REPORT.json",
     .kind = OPTION_TEXT,
     .complete = COMPLETE_FILE,
     .help = "Report to write, or - for standard output, in place of the text. Default: limn-doctor.json."},
    OPTIONS_END,
};

static const option tune_options[] = {
    {.name = "seconds",
     .argument = "S",
     .kind = OPTION_NUMBER,
     .min = 0,
     .max = 1e6,
     .help = "End after so long, with what is best by then. Default: when all is tried."},
    {.name = "trial-seconds",
     .argument = "S",
     .kind = OPTION_NUMBER,
     .min = 1,
     .max = 1e6,
     .help = "How long a trial may take before it counts as hung; one of what is kept so far, five times as "
             "long. Default: 120."},
    OPTIONS_END,
};

static const option help_options[] = {
    {.name = "format",
     .argument = "FORMAT",
     .kind = OPTION_CHOICE,
     .words = "text|man|bash|zsh|fish",
     .help = "text, man (the manual page), or bash, zsh, fish (the shell's completions)."},
    OPTIONS_END,
};

const command command_table[] = {
    {.name = "generate",
     .run = command_generate,
     .ranks = true,
     .options = generate_table,
     .operands = "[PROMPT]...",
     .max_operands = -1,
     .summary = "make pictures from a prompt",
     .description =
         "Draws what PROMPT says; - is a prompt from standard input. The settings that made a picture are in it (PNG "
         "text; EXIF's comment of JPEG and WebP), in the form that front ends read. Pictures have the model's size "
         "(the built-in model's 64 x 64), or one of its sizes, which "
         "limn inspect MODEL shows; limn devices lists what -d can choose from.\n"
         "Of several prompts N pictures each are drawn, numbered through in their order; each is what it would be "
         "alone with that seed. Quote a prompt of several words.\n"
         "A picture is written as soon as it is ready. Ctrl-C keeps what is there and says how to go on; with --rank "
         "those pictures are then in the order in which they were drawn. --json prints what was written, and by which "
         "settings.\n"
         "A prompt that is too long is an error, or loses its end with a warning, as with the model's authors. White "
         "space around and between its words makes no difference, and words that the model's vocabulary lacks are "
         "named.\n"
         "With --image-prompt a part of a picture stays and the rest is generated to go with it.\n"
         "Under mpirun the processes share the pictures out among them, and their devices too; the first one writes "
         "them.\n",
     .example = "limn generate \"a red apple on a blue background\" -o apple.png\n"
                "limn generate \"a red apple\" -n 9 --grid --seed 1 -o apples.png\n"
                "limn generate --prompts prompts.txt -n 4 -o all.png\n"
                "limn generate --like apple.png --seed random -o other.png\n"
                "limn generate \"a cat\" --image-prompt cat.jpg --keep top:0.5 -o cats.png -n 4\n"},
    {.name = "devices",
     .run = command_devices,
     .ranks = true,
     .options = devices_options,
     .summary = "list the OpenCL devices",
     .description =
         "Lists every device of every OpenCL platform: its index and platform.device for --device, type, "
         "memory, limits, and speed where limn bench has measured it; what is wrong with those that can't be "
         "used; and which are the same hardware under another driver. With --device: that one only.\n",
     .example = "limn devices\nlimn devices --why\nlimn devices --json\n"},
    {.name = "encode",
     .run = command_encode,
     .options = encode_options,
     .operands = "IMG...",
     .min_operands = 1,
     .max_operands = -1,
     .complete = COMPLETE_FILE,
     .summary = "turn pictures into codes",
     .description =
         "Writes the most likely code of each cell of each picture. Pictures (PNG, JPEG, WebP) are cut to the "
         "model's shape about their centre and resized.\n",
     .example = "limn encode a.png b.png -o codes.npy\n"},
    {.name = "decode",
     .run = command_decode,
     .options = decode_options,
     .operands = "CODES.npy",
     .min_operands = 1,
     .max_operands = 1,
     .complete = COMPLETE_FILE,
     .summary = "turn codes into pictures",
     .description = "Reads codes of the shape [n, h*w], [h*w] or [n, h, w], or of diffusion models latents, "
                    "float32 [n, channels, h, w].\n",
     .example = "limn decode codes.npy -o out.png\n"},
    {.name = "reconstruct",
     .run = command_reconstruct,
     .options = reconstruct_options,
     .operands = "IMG",
     .min_operands = 1,
     .max_operands = 1,
     .complete = COMPLETE_FILE,
     .summary = "pass a picture through the codec and back",
     .description = "Encodes a picture and decodes its codes, which shows what the codec can keep. It says the "
                    "PSNR.\n",
     .example = "limn reconstruct photo.jpg -o kept.png\n"},
    {.name = "score",
     .run = command_score,
     .options = score_options,
     .summary = "say how likely a picture is, given a text",
     .description = "Prints log p(z|y) of the image codes given the text and log p(y) of the text, in nats and in bits "
                    "per token, a line for each row. Rows of text and of codes go together; where one side has a "
                    "single row, it goes with all of the other.\n",
     .example = "limn score --text \"a red apple\" --image apple.png\n"},
    {.name = "tokenize",
     .run = command_tokenize,
     .options = tokenize_options,
     .operands = "TEXT",
     .min_operands = 1,
     .max_operands = 1,
     .operands_hint = "put a text of several words in quotes",
     .summary = "show the tokens of a text",
     .description = "Prints a line for each token: its id, a tab, and the token as the vocabulary has it. Needs no "
                    "device.\n",
     .example = "limn tokenize \"a red apple\"\n"},
    {.name = "train",
     .operands = "COMMAND [ARGUMENT]...",
     .max_operands = -1,
     .summary = "train the parts of a model",
     .description =
         "Each part of a model is trained by a command of its own, on the same pictures: a tokenizer from their "
         "captions, a codec from the pictures alone, then the transformer on both, which is the model. A CLIP, "
         "which ranks what the model draws, is an extra. pictures/ holds PNG, JPEG or WebP files with captions of the "
         "same name (cat.jpg, cat.txt).\n",
     .example = "limn train tokenizer pictures/ --vocabulary 2048 -o tokenizer.gguf\n"
                "limn train codec pictures/ -o codec.gguf\n"
                "limn train dalle pictures/ --codec codec.gguf --tokenizer tokenizer.gguf -o model.gguf\n"
                "limn generate \"a cat\" -m model.gguf -o cat.png\n"},
    {.name = "train codec",
     .run = command_train_codec,
     .ranks = true,
     .options = train_codec_table,
     .operands = "DATA...",
     .max_operands = -1,
     .complete = COMPLETE_FILE,
     .summary = "train an image codec (stage 1)",
     .description =
         "Learns a codec from pictures. The log OUT.gguf.csv has, for each step's batch, the losses, the PSNR "
         "in dB of the pictures as they were trained (a dvae's relaxed codes), the perplexity of the codes "
         "and their KL to the uniform prior in nats (of a vqvae always ln K), the last three of what went "
         "through the model last; the end of a run prints them. A vqgan's file is a vqvae's. " PAUSES RANKS DATA,
     .example = "limn train codec pictures/ -o codec.gguf\n"
                "limn train codec --kind vqgan --perceptual codec.gguf pictures/ -o vqgan.gguf\n"},
    {.name = "train dalle",
     .run = command_train_dalle,
     .ranks = true,
     .options = train_dalle_table,
     .operands = "DATA...",
     .max_operands = -1,
     .complete = COMPLETE_FILE,
     .summary = "train a text-to-image transformer (stage 2)",
     .description =
         "Learns text and the codes of a codec together, and writes a whole model. Sample pictures show what the "
         "model makes of some captions of the data. " PAUSES RANKS DATA,
     .example = "limn train dalle pictures/ --codec codec.gguf --tokenizer tokenizer.gguf -o model.gguf\n"},
    {.name = "train lora",
     .run = command_train_lora,
     .ranks = true,
     .options = train_lora_table,
     .operands = "DATA...",
     .max_operands = -1,
     .complete = COMPLETE_FILE,
     .summary = "teach a diffusion model a subject or a style, by an adapter",
     .description =
         "Trains low-rank adapters (LoRA, Hu et al. 2021) of a diffusion model's U-Net, some ten pictures of one thing "
         "are enough, and leaves the model as it is. What it writes is in the layout of diffusers. Captions should "
         "name the thing by a rare word: \"a photo of a zwx "
         "dog\". Of other models limn train dalle --lora trains adapters. " PAUSES RANKS DATA,
     .example = "limn train lora pictures/ -m sd15.gguf -o dog/\n"
                "limn train lora pictures/ -m sd15.gguf --size 256x256 --rank 8 --steps 500 -o dog.safetensors\n"
                "limn generate \"a photo of a zwx dog on the moon\" -m sd15.gguf --lora dog/ -o moon.png\n"},
    {.name = "train unet",
     .run = command_train_unet,
     .ranks = true,
     .options = train_unet_table,
     .operands = "DATA...",
     .max_operands = -1,
     .complete = COMPLETE_FILE,
     .summary = "train a diffusion model's whole U-Net",
     .description =
         "Goes on with the training of all weights of the U-Net of --init, whose autoencoder and text tower stay, and "
         "writes a whole model. That takes 16 bytes of memory for each weight; see limn train lora for less. " PAUSES
             RANKS DATA,
     .example = "limn train unet pictures/ --init small.gguf --batch 8 -o model.gguf\n"},
    {.name = "train clip",
     .run = command_train_clip,
     .options = train_clip_table,
     .operands = "DATA...",
     .max_operands = -1,
     .complete = COMPLETE_FILE,
     .summary = "train a CLIP, which ranks pictures",
     .description = "Learns which pictures and captions belong together, and writes a file that generate --rank takes. "
                    "Ctrl-C saves and ends; --resume goes on.\n" DATA,
     .example = "limn train clip pictures/ --tokenizer tokenizer.gguf --codec codec.gguf -o clip.gguf\n"
                "limn generate \"a red apple\" -n 16 --rank clip.gguf -o apple.png\n"},
    {.name = "train tokenizer",
     .run = command_train_tokenizer,
     .options = train_tokenizer_table,
     .operands = "DATA...",
     .max_operands = -1,
     .complete = COMPLETE_FILE,
     .summary = "make a tokenizer from captions",
     .description =
         "Learns byte-pair tokens from the captions of a data set and writes a file that holds the tokenizer "
         "alone. Needs no device.\n" DATA,
     .example = "limn train tokenizer pictures/ --lowercase -o tokenizer.gguf\n"
                "limn tokenize -m tokenizer.gguf \"a red apple\"\n"},
    {.name = "convert",
     .run = command_convert,
     .options = convert_options,
     .operands = "IN...",
     .min_operands = 1,
     .max_operands = -1,
     .complete = COMPLETE_FILE,
     .summary = "make a model file from published weights",
     .description = "Reads the files of a model, recognises its family by its tensors, and writes one GGUF file with "
                    "codec, transformer and tokenizer. Several of limn's own files become one, such as a model and the "
                    "CLIP for its --rank own, where their tokenizers are equal. IN is safetensors, a "
                    "PyTorch checkpoint, of which nothing is ever run, the index of either's shards "
                    "(model.safetensors.index.json), a folder with them (HuggingFace's, too), or limn's own GGUF.\n"
                    "Networks are found by their tensors: prefixes (module., _orig_mod.), dicts (state_dict), and "
                    "what training keeps beside a model don't matter. What is left out is said.\n",
     .example = "limn convert model.safetensors -o model.gguf --type f16\n"
                "limn convert downloads/ruclip/ -o clip.gguf\n"
                "limn convert encoder.pkl decoder.pkl -o codec.gguf\n"
                "limn convert encoder.pt decoder.pt detoker.pt vocab.json merges.txt -o m.gguf\n"},
    {.name = "inspect",
     .run = command_inspect,
     .options = inspect_options,
     .operands = "[FILE]",
     .max_operands = 1,
     .complete = COMPLETE_FILE,
     .summary = "show what a file holds",
     .description =
         "Shows what a model draws and of which size; keys, tensors and totals of a model (GGUF, safetensors, "
         "PyTorch), "
         "shape and range of an array (npy), size and settings of a picture (PNG, JPEG, WebP). The kind of a file is "
         "told by its content. Without FILE: the built-in model.\n",
     .example = "limn inspect model.gguf\nlimn inspect apple.png\n"},
    {.name = "bench",
     .run = command_bench,
     .options = bench_options,
     .operands = "[NAME...]",
     .max_operands = -1,
     .operands_hint = "put names in quotes",
     .complete = COMPLETE_BENCH,
     .summary = "measure the device",
     .description =
         "Measures the multiply-add peak and the read bandwidth of the device, and how near to these limits single "
         "ops and whole works come: pictures of models of published sizes with random weights, codecs, training "
         "steps. Each row has the share of the limit that was reached, the time, and what bandwidth and multiply-adds "
         "alone would take.\n"
         "NAME picks measurements by their names, as a shell's pattern; without one, a short set runs, or with --model "
         "that model's.\n"
         "--predict counts the launches of the same measurements in the kernels for GPUs, and adds up a model of "
         "them, to compare with what the device then takes (--json, --compare); -v shows each kernel's part. Its "
         "assumptions: a launch takes the longest of its bytes at 88% of the bandwidth; the instructions of its "
         "products, as counted in code that was compiled for such a device, at 70% of what its lanes issue (products "
         "by tiles: 80%, no more than local memory feeds, each cluster of units its share of the groups, and tiles "
         "that lie partly outside as long as others); and, of attention over a cache, norms and sampling, the loads "
         "that wait for each other; and from its end to the next one's start passes what launch_us says, or what is "
         "known of such devices, of which the mean counts. "
         "Heat, other programs and CLBlast aren't in it. A unit is what the driver calls a compute unit. Where "
         "latencies rule, it may be wrong by a factor of two.\n",
     .example = "limn bench --device cpu\n"
                "limn bench 'product*' 'generate mini, F16, 1 row' --json > before.json\n"
                "limn bench 'product*' --compare before.json\n"
                "limn bench -m model.gguf --predict iris_xe\n"},
    {.name = "tune",
     .run = command_tune,
     .options = tune_options,
     .operands = "[PATTERN]...",
     .max_operands = -1,
     .summary = "find what is fastest on the device",
     .description =
         "Tries other shapes of the kernels' tiles and panels, how far ahead they read, rows of a pass, sizes of "
         "work-groups, parts of attention, and the use and the parameters of CLBlast, and keeps what was faster: for "
         "this device and this version of its driver, in the file tuning of the cache directory, which every command "
         "reads from then on. A line of it may be deleted. Where a CPU's kernels are used, no result changes by a "
         "bit; on a GPU sums may be rounded otherwise. With PATTERN, as gemm_* or winograd_tiles, it tunes only what "
         "it matches, and leaves the rest as it was found; the file's names are those. While another search is at "
         "work on this machine, this one waits.\n"
         "Each trial is a process of its own with a time limit, since drivers hang and crash, and counts only where "
         "its results are right. It computes, in turn with the best so far, what that number decides: products of "
         "one row, of a few and of many, attention, convolutions. The median of the pairs must be 3% faster, and "
         "faster than what the best differs from itself, in no class slower, and so again in two more trials. Where "
         "limn bench has measured the device, what is furthest from its limits comes first. What "
         "was found is saved after each step, so Ctrl-C loses one. At the end stand what was found, how much each "
         "of it gives, and all of it together; nothing else should run meanwhile.\n",
     .example = "limn tune --device gpu\n"
                "limn tune 'gemm_*' 'winograd_*' --seconds 120\n"},
    {.name = "selftest",
     .run = command_selftest,
     .summary = "check that the device computes rightly",
     .description = "Runs limn's kernels on the device and compares with what they must give.\n",
     .example = "limn selftest --device 0\n"},
    {.name = "serve",
     .run = command_serve,
     .options = serve_table,
     .summary = "draw for other programs: a server with OpenAI's API",
     .description =
         "Serves /v1/images/generations, /v1/images/edits, /v1/images/variations and /v1/models as OpenAI's API has "
         "them, with its clients; further fields of a request are seed, guidance, temperature, top_k, top_p and "
         "negative_prompt. Requests of several clients are drawn together, and each picture is that of limn generate "
         "with the same seed. A client that hangs up ends its work. GET /health tells whether pictures can be drawn, "
         "/metrics has counts, /v1/jobs what is at work, and DELETE /v1/jobs/ID ends it.\n"
         "It listens on this machine alone; elsewhere clients need a key. SIGTERM and Ctrl-C end it when what is at "
         "work is finished, or after --drain.\n",
     .example = "limn serve\nlimn serve -m janus.gguf --port 8000 --api-key secret --host 0.0.0.0\n"},
    {.name = "doctor",
     .run = command_doctor,
     .options = doctor_options,
     .summary = "examine the devices, and write a report",
     .description =
         "Says what drivers and devices there are, what is wrong with them and what to do (as devices --why), checks "
         "each device that can be used (as selftest), and measures for about a minute the one that -d means (a part of "
         "bench); with -d it checks that one alone. The same goes to REPORT.json, to attach where you ask for help; "
         "names of the user and the machine, and the home directory's, are replaced in both.\n"
         "Each step is a process of its own: where a driver crashes or hangs, that is reported, and the others go on. "
         "The exit code is 1 where a step failed or a driver did harm, and 3 where no device can be used; the report "
         "is written all the same.\n",
     .example = "limn doctor\nlimn doctor -d gpu -o report.json\n"},
    {.name = "help",
     .run = command_help,
     .options = help_options,
     .operands = "[COMMAND]",
     .max_operands = 2,
     .complete = COMPLETE_COMMAND,
     .summary = "show help, the man page or shell completions",
     .description = "Shows the commands, or how to use one. --format man prints the manual page; bash, zsh and fish "
                    "print completions for that shell.\n",
     .example = "limn help generate\nlimn help --format bash > /etc/bash_completion.d/limn\n"},
    {.name = "version", .run = command_version, .summary = "print the version", .description = "Prints the version.\n"},
    OPTIONS_END,
};
