/* Settings of diffusers' folders under which the same weights would draw something else: each is an error that names
 * its key and value, and what the published models have is none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <string.h>

#include "checks.h"
#include "convert/diffusers.h"

typedef bool check(const json_t *root, err *e);

static bool check_decoder(const json_t *root, err *e)
{
    return diffusers_check_unclip_unet(root, "decoder", true, e);
}

static const struct {
    check *of;
    const char *settings, *parts[2]; /* of the error; NULL: there is none */
} cases[] = {
    {diffusers_check_unet,
     "{\"_class_name\": \"UNet2DConditionModel\", \"act_fn\": \"silu\", \"attention_head_dim\": [5, 10, 20, 20], "
     "\"block_out_channels\": [320, 640, 1280, 1280], \"down_block_types\": [\"CrossAttnDownBlock2D\", "
     "\"CrossAttnDownBlock2D\", \"CrossAttnDownBlock2D\", \"DownBlock2D\"], \"up_block_types\": [\"UpBlock2D\", "
     "\"CrossAttnUpBlock2D\", \"CrossAttnUpBlock2D\", \"CrossAttnUpBlock2D\"], \"freq_shift\": 0, "
     "\"only_cross_attention\": [false, false, false, false], \"num_class_embeds\": null, \"mid_block_type\": null, "
     "\"downsample_padding\": 1, \"flip_sin_to_cos\": true, \"mid_block_scale_factor\": 1.0, \"norm_eps\": 1e-05, "
     "\"norm_num_groups\": 32, \"transformer_layers_per_block\": [1, 2, 1, 1]}",
     {NULL}},
    {diffusers_check_unet, "{\"only_cross_attention\": [true, false]}", {"only_cross_attention", "[true,false]"}},
    {diffusers_check_unet, "{\"class_embed_type\": \"projection\"}", {"class_embed_type", "projection"}},
    {diffusers_check_unet, "{\"num_class_embeds\": 1000}", {"num_class_embeds", "1000"}},
    {diffusers_check_unet, "{\"addition_embed_type\": \"text_time\"}", {"addition_embed_type", "text_time"}},
    {diffusers_check_unet, "{\"mid_block_type\": \"UNetMidBlock2D\"}", {"mid_block_type", "UNetMidBlock2D"}},
    {diffusers_check_unet, "{\"flip_sin_to_cos\": false}", {"flip_sin_to_cos", "false"}},
    {diffusers_check_unet, "{\"conv_in_kernel\": 1}", {"conv_in_kernel", "1"}},
    {diffusers_check_unet, "{\"freq_shift\": \"1\"}", {"freq_shift", "1"}},
    {diffusers_check_unet, "{\"layers_per_block\": [1, 2]}", {"layers_per_block", "[1,2]"}},
    {diffusers_check_unet, "{\"transformer_layers_per_block\": [[1], [1]]}", {"transformer_layers_per_block", "[[1]"}},
    {diffusers_check_unet, "{\"norm_num_groups\": null}", {"norm_num_groups", "null"}},
    {diffusers_check_unet,
     "{\"attention_head_dim\": [2], \"block_out_channels\": [8, 8]}",
     {"attention_head_dim", "[2]"}},
    {diffusers_check_unet, "{\"attention_head_dim\": \"8\"}", {"attention_head_dim", "8"}},
    {diffusers_check_unet, "{\"down_block_types\": [\"AttnDownBlock2D\"]}", {"down_block_types", "AttnDownBlock2D"}},
    {diffusers_check_unet,
     "{\"down_block_types\": [\"DownBlock2D\", \"CrossAttnDownBlock2D\"], \"up_block_types\": [\"UpBlock2D\", "
     "\"CrossAttnUpBlock2D\"]}",
     {"up_block_types", "on the way down"}},
    {diffusers_check_scheduler,
     "{\"_class_name\": \"EulerDiscreteScheduler\", \"thresholding\": true, \"clip_sample\": true, \"algorithm_type\": "
     "\"dpmsolver\", \"sigma_min\": null}",
     {NULL}},
    {diffusers_check_scheduler, "{\"_class_name\": \"PNDMScheduler\"}", {"skip_prk_steps", "isn't there"}},
    {diffusers_check_scheduler, "{\"_class_name\": \"PNDMScheduler\", \"skip_prk_steps\": true}", {NULL}},
    {diffusers_check_scheduler,
     "{\"_class_name\": \"DDIMScheduler\", \"thresholding\": true}",
     {"thresholding", "true"}},
    {diffusers_check_scheduler,
     "{\"_class_name\": \"EulerDiscreteScheduler\", \"final_sigmas_type\": \"sigma_min\"}",
     {"final_sigmas_type", "sigma_min"}},
    {diffusers_check_scheduler,
     "{\"_class_name\": \"DPMSolverMultistepScheduler\", \"solver_order\": 3}",
     {"solver_order", "3"}},
    {diffusers_check_scheduler,
     "{\"_class_name\": \"DPMSolverMultistepScheduler\", \"lambda_min_clipped\": -5.1}",
     {"lambda_min_clipped", "-5.1"}},
    {diffusers_check_scheduler,
     "{\"_class_name\": \"LCMScheduler\", \"timestep_scaling\": 5.0}",
     {"timestep_scaling", "5"}},
    {diffusers_check_scheduler, "{\"trained_betas\": [0.5]}", {"trained_betas", "0.5"}},
    {diffusers_check_scheduler, "{\"beta_start\": \"0.1\"}", {"beta_start", "0.1"}},
    {diffusers_check_autoencoder, "{\"shift_factor\": null, \"latents_mean\": null, \"use_quant_conv\": true}", {NULL}},
    {diffusers_check_autoencoder, "{\"shift_factor\": 0.5}", {"shift_factor", "0.5"}},
    {diffusers_check_autoencoder, "{\"use_post_quant_conv\": false}", {"use_post_quant_conv", "false"}},
    {diffusers_check_autoencoder, "{\"scaling_factor\": 0}", {"scaling_factor", "0"}},
    {diffusers_check_autoencoder, "{\"_class_name\": \"AutoencoderTiny\"}", {"_class_name", "AutoencoderTiny"}},
    {diffusers_check_text, "{\"hidden_act\": \"quick_gelu\", \"model_type\": \"clip_text_model\"}", {NULL}},
    {diffusers_check_text, "{\"model_type\": \"xlm-roberta\"}", {"model_type", "xlm-roberta"}},
    {diffusers_check_text, "{\"use_attention_mask\": true}", {"use_attention_mask", "true"}},
    {check_decoder, "{\"class_embed_type\": \"identity\", \"attention_head_dim\": [8, 4, 8]}", {NULL}},
    {check_decoder,
     "{\"class_embed_type\": \"identity\", \"attention_head_dim\": [4, 8, 8]}",
     {"attention_head_dim", "[4,8,8]"}},
};

static void test_settings(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        err e = {0};
        json_t *root = json_loads(cases[i].settings, 0, NULL);
        assert_non_null(root);
        bool ok = cases[i].of(root, &e);
        if (ok != !cases[i].parts[0])
            fail_msg("%s: %s", cases[i].settings, ok ? "no error" : e.text);
        for (int k = 0; !ok && k < 2; k++)
            if (!strstr(e.text, cases[i].parts[k]))
                fail_msg("%s: \"%s\" isn't in: %s", cases[i].settings, cases[i].parts[k], e.text);
        json_decref(root);
    }
    err e = {0};
    assert_true(diffusers_check_unet(NULL, &e) && diffusers_check_scheduler(NULL, &e) &&
                diffusers_check_autoencoder(NULL, &e) && diffusers_check_text(NULL, &e));
}

int main(void)
{
    const struct CMUnitTest tests[] = {TEST(test_settings)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
