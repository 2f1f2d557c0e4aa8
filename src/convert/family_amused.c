/* The family "amused": aMUSEd (Patil et al. 2024) in its diffusers folder: a transformer that fills masked cells
 * (transformer/), the text tower of a CLIP (text_encoder/), a VQGAN (vqvae/), the tokenizer's files and the scheduler's
 * settings. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "convert/codecs.h"
#include "convert/config_json.h"
#include "convert/diffusers.h"
#include "convert/networks.h"
#include "models/transformers/masked.h"

#define MARK   "embed.embeddings.weight"
#define TOKENS "text_model.embeddings.token_embedding.weight"

enum { LAYERS_MOST = 1024, HEAD = 64, CONDITIONS = 5 };

static bool recognise(const source *s)
{
    return source_has(s, MARK) && source_has(s, "mlm_layer.conv2.weight");
}

/* The blocks of one side, behind "down_block." or "up_block.". */
static const import_row units[] = {
    {"{i}.depthwise.weight", {"res_blocks.{i}.depthwise.weight"}, IMPORT_SHAPED},
    {"{i}.norm.weight", {"res_blocks.{i}.norm.weight"}},
    {"{i}.up.weight", {"res_blocks.{i}.channelwise_linear_1.weight"}},
    {"{i}.response.weight", {"res_blocks.{i}.channelwise_norm.gamma"}, IMPORT_SHAPED},
    {"{i}.response.bias", {"res_blocks.{i}.channelwise_norm.beta"}, IMPORT_SHAPED},
    {"{i}.down.weight", {"res_blocks.{i}.channelwise_linear_2.weight"}},
    {"{i}.condition.weight", {"res_blocks.{i}.cond_embeds_mapper.weight"}},
    {"{i}.map.weight", {"attention_blocks.{i}.kv_mapper.weight"}},
    {"{i}.attention.{j}.norm.weight", {"attention_blocks.{i}.norm{1+j}.weight"}},
    {"{i}.attention.{j}.q.weight", {"attention_blocks.{i}.attn{1+j}.to_q.weight"}},
    {"{i}.attention.{j}.kv.weight",
     {"attention_blocks.{i}.attn{1+j}.to_k.weight", "attention_blocks.{i}.attn{1+j}.to_v.weight"}},
    {"{i}.attention.{j}.out.weight", {"attention_blocks.{i}.attn{1+j}.to_out.0.weight"}},
};
static const import_row rest[] = {
    {"text_in.weight", {"encoder_proj.weight"}},
    {"text_norm.weight", {"encoder_proj_layer_norm.weight"}},
    {"condition_in.weight", {"cond_embed.linear_1.weight"}},
    {"condition.weight", {"cond_embed.linear_2.weight"}},
    {"embedding.weight", {MARK}},
    {"embedding_norm.weight", {"embed.layer_norm.weight"}},
    {"in.weight", {"embed.conv.weight"}, IMPORT_SHAPED},
    {"halve_norm.weight", {"down_block.downsample.norm.weight"}},
    {"halve.weight", {"down_block.downsample.conv.weight"}},
    {"double_norm.weight", {"up_block.upsample.norm.weight"}},
    {"double.weight", {"up_block.upsample.conv.weight"}, IMPORT_TRANSPOSED},
    {"to_middle_norm.weight", {"project_to_hidden_norm.weight"}},
    {"to_middle.weight", {"project_to_hidden.weight"}},
    {"from_middle_norm.weight", {"project_from_hidden_norm.weight"}},
    {"from_middle.weight", {"project_from_hidden.weight"}},
    {"block.{i}.norm{j}.weight", {"transformer_layers.{i}.norm{j}.norm.weight"}},
    {"block.{i}.condition{j}.weight", {"transformer_layers.{i}.norm{j}.linear.weight"}},
    {"block.{i}.qkv.weight",
     {"transformer_layers.{i}.attn1.to_q.weight", "transformer_layers.{i}.attn1.to_k.weight",
      "transformer_layers.{i}.attn1.to_v.weight"}},
    {"block.{i}.out.weight", {"transformer_layers.{i}.attn1.to_out.0.weight"}},
    {"block.{i}.cross.q.weight", {"transformer_layers.{i}.attn2.to_q.weight"}},
    {"block.{i}.cross.kv.weight",
     {"transformer_layers.{i}.attn2.to_k.weight", "transformer_layers.{i}.attn2.to_v.weight"}},
    {"block.{i}.cross.out.weight", {"transformer_layers.{i}.attn2.to_out.0.weight"}},
    {"block.{i}.up.weight", {"transformer_layers.{i}.ff.net.0.proj.weight"}},
    {"block.{i}.down.weight", {"transformer_layers.{i}.ff.net.2.weight"}},
    {"last.weight", {"mlm_layer.conv1.weight"}, IMPORT_SHAPED},
    {"last_norm.weight", {"mlm_layer.layer_norm.weight"}},
    {"head.weight", {"mlm_layer.conv2.weight"}, IMPORT_SHAPED},
};
static const import_map maps[] = {{"transformer.text.", "", IMPORT_ROWS(diffusers_text)},
                                  {"transformer.before.", "down_block.", IMPORT_ROWS(units)},
                                  {"transformer.after.", "up_block.", IMPORT_ROWS(units)},
                                  {"transformer.", "", IMPORT_ROWS(rest)},
                                  {0}};

/* ---- sizes ---- */

/* The pixels of a cell's side: of the VQGAN beside it, or as published. */
static int step_of(const import *im)
{
    int stages = 0;
    while (import_has(im, "decoder.up_blocks.%d.resnets.0.norm1.weight", stages))
        stages++;
    return stages > 0 && stages < 16 ? 1 << (stages - 1) : 16;
}

static void read_sizes(import *im, const json_t *root, masked *t)
{
    transformer *b = &t->base;
    b->dim = import_mapped_size(im, maps, 0, "transformer.to_middle.weight");
    b->layers = import_mapped_count(im, maps, "transformer.block.{i}.qkv.weight", LAYERS_MOST);
    b->heads = import_json_int(root, "num_attention_heads", b->dim / HEAD);
    b->codes = import_mapped_size(im, maps, 0, "transformer.head.weight");
    t->mlp = import_mapped_size(im, maps, 1, "transformer.block.0.down.weight");
    t->channels = import_mapped_size(im, maps, 1, "transformer.to_middle.weight");
    t->units = import_mapped_count(im, maps, "transformer.before.{i}.depthwise.weight", MASKED_BLOCKS);
    t->unit_heads = import_json_int(root, "block_num_heads", t->channels / HEAD);
    t->code_rows = import_size(im, 0, MARK);
    t->code_dim = import_size(im, 1, MARK);
    t->halves = import_mapped_has(im, maps, "transformer.halve.weight");
    t->frequencies = (import_mapped_size(im, maps, 1, "transformer.condition_in.weight") - t->text.dim) / CONDITIONS;
    t->eps = (float)import_json_number(root, "layer_norm_eps", 1e-6);
    int step = step_of(im), grid = import_json_int(root, "sample_size", 0);
    t->width = t->height = import_image_size(im, grid ? grid : t->halves ? 32 : 16, step);
    b->grid_width = b->grid_height = t->width / step;
}

/* The code of masked cells, of which the scheduler's settings tell. */
static bool read_scheduler(const import *im, masked *t, err *e)
{
    json_t *root = NULL;
    bool ok = diffusers_json(im, MARK, "../scheduler/scheduler_config.json", &root, e);
    const char *schedule = json_string_value(json_object_get(root, "masking_schedule"));
    t->base.mask_code = import_json_int(root, "mask_token_id", t->code_rows - 1);
    if (ok && schedule && strcmp(schedule, "cosine"))
        ok = err_set(e, ERR_FAILED, "scheduler_config.json: \"masking_schedule\": \"%.64s\", and limn's is cosine",
                     schedule);
    json_decref(root);
    return ok;
}

/* ---- all of it ---- */

static bool put_transformer(import *im, masked *t, err *e)
{
    param_table params = {0};
    json_t *root = NULL, *encoder = NULL;
    bool ok = diffusers_json(im, MARK, "config.json", &root, e) &&
              diffusers_json(im, TOKENS, "config.json", &encoder, e) &&
              diffusers_read_text(im, maps, encoder, &t->text, e);
    if (ok)
        read_sizes(im, root, t);
    ok = ok && !im->error.code && read_scheduler(im, t, e) && diffusers_put_tokenizer(im, TOKENS, &t->text, false, e) &&
         masked_prepare(t, "convert", e);
    if (ok) {
        masked_declare(t, &params);
        masked_put(t, im->to);
        import_tensors(im, maps, &params);
    }
    params_release(&params);
    json_decref(root);
    json_decref(encoder);
    return ok;
}

static bool convert(import *im, err *e)
{
    static const char *const defaults[] = {"temperature=2", "guidance=10", "steps=12"};
    char vqgan[64] = "";
    masked *t = calloc(1, sizeof *t);
    bool ok = t ? put_transformer(im, t, e) : err_no_memory(e, "transformer", sizeof *t);
    if (ok && import_vqgan_prefix(im->from, vqgan))
        ok = import_vqgan(im, vqgan, t->base.grid_width, e);
    if (ok)
        import_put_settings(im, defaults, sizeof defaults / sizeof *defaults);
    masked_free(t);
    return ok;
}

const family family_amused = {
    .recognise = recognise, .run = convert, .networks = NETWORK_AMUSED | NETWORK_CLIP_TEXT | NETWORK_VQGAN};
