/* The options of limn generate. */
#include "cli/commands.h"
#include "cli/table.h"

const option generate_table[] = {
    MODEL,
    {.name = "output",
     .letter = 'o',
     .argument = "OUT.png",
     .kind = OPTION_TEXT,
     .complete = COMPLETE_FILE,
     .help = "Picture to write: .png, .jpg or .webp, or - for standard output (a PNG). Several are OUT-1.png to "
             "OUT-N.png, with zeros before numbers of fewer digits. Default: "
             "limn.png, or the next of limn-2.png, limn-3.png, ... that isn't there."},
    {.name = "count",
     .letter = 'n',
     .argument = "N",
     .kind = OPTION_INTEGER,
     .min = 1,
     .max = 100000,
     .help = "Number of pictures of each prompt. Picture i of a seed is the same whatever the number."},
    SIZE,
    {.name = "first",
     .argument = "K",
     .kind = OPTION_INTEGER,
     .min = 1,
     .max = 1e9,
     .help =
         "Draw pictures K, K+1, ... of the seed, OUT-K.png and so on: --seed 7 --first 3 draws the third picture of "
         "seed 7 alone. Of several prompts, K counts through the pictures of all of them, and the rest is drawn."},
    QUALITY,
    {.name = "grid",
     .help =
         "Write all pictures as one, side by side. It is written again as its lines are ready; what isn't there yet "
         "is grey."},
    {.name = "seed",
     .argument = "S",
     .kind = OPTION_SEED,
     .min = -1,
     .help = "Seed of the random numbers, 0 to 2^64-1. Default, or -1: a random one, which is reported."},
    {.name = "temperature",
     .argument = "T",
     .kind = OPTION_NUMBER,
     .min = 0,
     .max = 100,
     .help = "Below 1 safer, above 1 wilder; 0 always takes the most likely code. Models that fill all cells at once "
             "draw their codes as likely as they are, and T says how far chance counts in which of them stay: in the "
             "first step, and less in each, down to none in the last. Default: the model's."},
    {.name = "top-k",
     .argument = "K",
     .kind = OPTION_INTEGER,
     .min = 0,
     .max = 1e9,
     .help = "Sample among the K most likely codes; 0: among all. Default: the model's."},
    {.name = "top-p",
     .argument = "P",
     .kind = OPTION_NUMBER,
     .min = 0,
     .max = 1,
     .help = "Sample among the fewest codes that hold the probability P together; 0 or 1: all. Default: the model's."},
    {.name = "guidance",
     .argument = "G",
     .kind = OPTION_NUMBER,
     .min = 0,
     .max = 1000,
     .help = "Classifier-free guidance: how much more the prompt counts; 0 or 1: none. Default: the model's."},
    {.name = "steps",
     .argument = "N",
     .kind = OPTION_INTEGER,
     .min = 1,
     .max = 1000,
     .help =
         "Of models that draw all of a picture at once (aMUSEd, Stable Diffusion, Karlo): in how many steps. Default: "
         "the model's."},
    {.name = "sampler",
     .argument = "NAME",
     .kind = OPTION_CHOICE,
     .words =
         "ddim|pndm|euler|euler_karras|euler_a|dpmpp_2m|dpmpp_2m_karras|dpmpp_2m_sde|dpmpp_2m_sde_karras|lcm|unclip",
     .help =
         "Of diffusion models (Stable Diffusion): how noise becomes a picture. euler_a and those with sde add noise in "
         "each step; lcm is for models that were trained for it, and unclip, which adds noise too, is what unCLIP's "
         "are "
         "drawn by. Default: the model's."},
    {.name = "spacing",
     .argument = "NAME",
     .kind = OPTION_CHOICE,
     .words = "leading|linspace|trailing",
     .help = "Of diffusion models: which times the steps have, even from the smallest on, with both ends, or from the "
             "largest on. Default: the model's, or what the sampler's authors took."},
    {.name = "prior-steps",
     .argument = "N",
     .kind = OPTION_INTEGER,
     .min = 1,
     .max = 1000,
     .help = "Of unCLIP's models (Karlo), in which --steps are the decoder's: steps of the prior, which draws what the "
             "picture of a prompt would be to CLIP. Default: the model's, 25."},
    {.name = "super-steps",
     .argument = "N",
     .kind = OPTION_INTEGER,
     .min = 1,
     .max = 1000,
     .help = "Of unCLIP's models: steps of what enlarges their pictures. Default: the model's, 7."},
    {.name = "prior-guidance",
     .argument = "G",
     .kind = OPTION_NUMBER,
     .min = 0,
     .max = 1000,
     .help = "Of unCLIP's models, in which --guidance is the decoder's: that of the prior. Default: the model's, 4."},
    {.name = "negative",
     .argument = "P",
     .kind = OPTION_TEXT,
     .help =
         "What the pictures should not show: guidance leads from it to PROMPT. Without --guidance, or a model that has "
         "guidance by default, it has no effect."},
    LORA,
    EMBEDDING,
    {.name = "kv-cache",
     .argument = "TYPE",
     .kind = OPTION_CHOICE,
     .words = "f32|f16",
     .help = "Type of the keys and values that attention keeps: f32, or f16, which halves the memory of this cache and "
             "may change a code now and then. Default: f32."},
    {.name = "draft",
     .argument = "N",
     .kind = OPTION_INTEGER,
     .min = 1,
     .max = 32,
     .help = "Draft and check up to N codes of a picture in one pass over the weights: the pictures are the same, from "
             "fewer passes, each of which takes longer. 1: none. -v says how many codes a pass gave. Default: as limn "
             "tune found, else 1."},
    {.name = "prompts",
     .argument = "FILE",
     .kind = OPTION_LIST,
     .complete = COMPLETE_FILE,
     .help = "Prompts, one a line of FILE, or of standard input, which is -. May be repeated."},
    {.name = "like",
     .argument = "PICTURE",
     .kind = OPTION_TEXT,
     .complete = COMPLETE_FILE,
     .help =
         "Draw with the settings that a picture carries, limn's or one of another program: prompt, negative prompt, "
         "seed, number, temperature, top-k, top-p, guidance, steps, strength, image prompt, and of unCLIP's pictures "
         "the prior's and the enlarging steps and the ends of --interpolate. Options that are given count instead. The "
         "model is that of --model."},
    {.name = "text-ids",
     .argument = "FILE.npy",
     .kind = OPTION_TEXT,
     .complete = COMPLETE_FILE,
     .help = "Token ids in place of prompts: int32 [T], or [n, T] for n of them, the model's own ids, padded or not."},
    {.name = "class",
     .argument = "N",
     .kind = OPTION_INTEGER,
     .min = 0,
     .max = 16777215,
     .help = "In place of PROMPT, for models that draw classes: which one, from 0 on."},
    {.name = "image-prompt",
     .argument = "IMG",
     .kind = OPTION_LIST,
     .complete = COMPLETE_FILE,
     .help = "Picture of which a part stays and the rest is generated. It is cut to the model's shape and resized. "
             "unCLIP's models draw variations of it, with or without a PROMPT beside it. With --interpolate there may "
             "be two."},
    {.name = "variations",
     .argument = "N",
     .kind = OPTION_INTEGER,
     .min = 1,
     .max = 100000,
     .help = "Of unCLIP's models (Karlo): draw N pictures of what CLIP sees in the image prompt, of which all is new."},
    {.name = "interpolate",
     .argument = "N",
     .kind = OPTION_INTEGER,
     .min = 2,
     .max = 100000,
     .help = "Of unCLIP's models: draw N pictures on the way from one end to another, both included: from the first "
             "prompt to the second, from one --image-prompt to another, or from an --image-prompt to a prompt. What "
             "CLIP sees in them changes along the sphere (Ramesh et al. 2022), and all have the same noise; a prompt "
             "that is an end counts by that alone."},
    {.name = "strength",
     .argument = "S",
     .kind = OPTION_NUMBER,
     .min = 0.001,
     .max = 1,
     .help =
         "Of models that draw all of a picture at once: how much of the image prompt changes, everywhere but in what "
         "stays. Only that share of the steps is done, on fewer masked cells or from the picture with so much noise; "
         "1: all is drawn anew. Default: of diffusion models 0.8, or 1 with --mask or --keep."},
    {.name = "mask",
     .argument = "MASK",
     .kind = OPTION_TEXT,
     .complete = COMPLETE_FILE,
     .help =
         "Of diffusion models: the picture of a mask: what is white in it is painted anew, and the rest of the image "
         "prompt stays (--keep says the same the other way round). It is cut and resized like the image prompt."},
    {.name = "keep",
     .argument = "REGION",
     .kind = OPTION_TEXT,
     .complete = COMPLETE_FILE,
     .words = "top:|bottom:|left:|right:|box:",
     .help =
         "What stays of the image prompt: top:F, bottom:F, left:F, right:F, box:X,Y,W,H or the picture of a mask: "
         "what is white in it stays and what is black is drawn anew, or what is opaque and what is transparent where "
         "it has transparent parts; it is cut and resized like the image prompt. Numbers are fractions from 0 to 1 of "
         "the generated picture, or its whole pixels where "
         "one of them is above 1. A cell stays if its centre lies inside. Default: "
         "what is opaque in an image prompt with transparent parts, else top:0.5."},
    {.name = "rank",
     .argument = "CLIP",
     .kind = OPTION_TEXT,
     .complete = COMPLETE_FILE,
     .words = "own",
     .help = "Order the N pictures by how well they go with PROMPT, best first: a model file with a CLIP, or own, the "
             "one in the model file itself. -v says the scores."},
    {.name = "preview",
     .argument = "FILE.png",
     .kind = OPTION_TEXT,
     .complete = COMPLETE_FILE,
     .help = "Picture that is rewritten while the work goes on; what isn't there yet is grey."},
    {.name = "codes-out",
     .argument = "FILE.npy",
     .kind = OPTION_TEXT,
     .complete = COMPLETE_FILE,
     .help = "Write the codes of all pictures too: int32 [n, h*w]."},
    {.name = "latents-out",
     .argument = "FILE.npy",
     .kind = OPTION_TEXT,
     .complete = COMPLETE_FILE,
     .help = "Of diffusion models: write the latents of all pictures too, float32 [n, channels, h, w]."},
    {.name = "noise",
     .argument = "FILE.npy",
     .kind = OPTION_TEXT,
     .complete = COMPLETE_FILE,
     .help =
         "Of diffusion models, to compare with other programs: in place of random numbers float32 [1 + k, channels, "
         "h, w] of unit variance, what a picture begins with and that of each step that draws noise. unCLIP's: that of "
         "the prior, of the decoder and of the last stage follow each other, the smaller ones at the upper left of "
         "their rows, the prior's in the first channel."},
    JSON,
    OPTIONS_END,
};
