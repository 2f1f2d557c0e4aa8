/* limn score: how likely the model finds a picture given a text, and the text itself. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "cli/commands.h"
#include "cli/common.h"

typedef struct scoring {
    opened_model s;
    int32_t *text; /* of --text; else NULL */
    npy text_file; /* of --text-ids */
    npy codes;     /* [n_codes, cells] */
    int n_text, n_codes, rows;
    size_t length; /* ids of a row */
    float *logits; /* [rows, cells, K], or NULL */
    limn_score *scores;
} scoring;

static void scoring_release(scoring *j)
{
    free(j->text);
    npy_release(&j->text_file);
    npy_release(&j->codes);
    free(j->logits);
    free(j->scores);
    command_close(&j->s);
}

static bool read_text(scoring *j, const options *o, err *e)
{
    const char *text = options_text(o, "text", NULL);
    if (text) {
        j->n_text = 1;
        return limn_tokenize(j->s.model, text, &j->text, &j->length, e);
    }
    j->length = j->text_file.nd ? (size_t)j->text_file.shape[j->text_file.nd - 1] : 0;
    return true;
}

static bool read_codes(scoring *j, const options *o, err *e)
{
    const char *picture = options_text(o, "image", NULL);
    if (!picture)
        return codes_read(&j->codes, &j->n_codes, options_text(o, "codes", NULL), &j->s, j->s.info->default_steps > 0,
                          e);
    image im = {0};
    j->n_codes = 1;
    j->codes.data = array_new((size_t)j->s.cells, sizeof(int32_t), "codes", e);
    bool ok =
        j->codes.data && picture_read(&im, picture, &j->s, e) && pictures_encode(&j->s, &im, 1, j->codes.data, NULL, e);
    image_release(&im);
    return ok;
}

static bool score_rows(scoring *j, err *e)
{
    const int32_t *text = j->text ? j->text : j->text_file.data;
    const int32_t *codes = j->codes.data;
    size_t row = (size_t)j->s.cells * (size_t)j->s.info->codes;
    bool ok = true;
    progress bar;
    progress_begin(&bar, "score", "pictures");
    for (int i = 0; ok && i < j->rows; i++) {
        const int32_t *y = j->n_text > 1 ? text + (size_t)i * j->length : text;
        const int32_t *z = j->n_codes > 1 ? codes + (size_t)i * (size_t)j->s.cells : codes;
        float *logits = j->logits ? j->logits + (size_t)i * row : NULL;
        ok = limn_score_codes(j->s.model, y, j->length, z, logits, &j->scores[i], e) && interrupt_check(e);
        progress_update(&bar, i + 1, j->rows);
    }
    progress_end(&bar);
    return ok;
}

static double bits_per_token(double nats, int tokens)
{
    return tokens > 0 ? -nats / (tokens * log(2.0)) : (double)NAN;
}

static void print_scores(const scoring *j, bool json)
{
    json_t *all = json_array();
    if (!json)
        printf("row  log p(z|y) nats  bits/token  tokens    log p(y) nats  bits/token  tokens\n");
    for (int i = 0; i < j->rows; i++) {
        const limn_score *s = &j->scores[i];
        double image_bits = bits_per_token(s->image_log_likelihood, s->image_tokens);
        double text_bits = bits_per_token(s->text_log_likelihood, s->text_tokens);
        if (!json) {
            printf("%3d  %15.4f  %10.4f  %6d  %15.4f  ", i + 1, s->image_log_likelihood, image_bits, s->image_tokens,
                   s->text_log_likelihood);
            if (s->text_tokens > 0)
                printf("%10.4f  %6d\n", text_bits, s->text_tokens);
            else
                printf("%10s  %6d\n", "-", s->text_tokens);
            continue;
        }
        json_t *r = json_object();
        json_object_set_new(r, "row", json_integer(i + 1));
        json_object_set_new(r, "image_log_likelihood", json_finite(s->image_log_likelihood));
        json_object_set_new(r, "image_bits_per_token", json_finite(image_bits));
        json_object_set_new(r, "image_tokens", json_integer(s->image_tokens));
        json_object_set_new(r, "text_log_likelihood", json_finite(s->text_log_likelihood));
        json_object_set_new(r, "text_bits_per_token", json_finite(text_bits));
        json_object_set_new(r, "text_tokens", json_integer(s->text_tokens));
        json_array_append_new(all, r);
    }
    if (json)
        print_json(json_incref(all));
    json_decref(all);
}

static bool score(scoring *j, const options *o, err *e)
{
    const char *ids = options_text(o, "text-ids", NULL), *out = options_text(o, "logits-out", NULL);
    const char *input = options_text(o, options_given(o, "image") ? "image" : "codes", NULL);
    file_set files = {0};
    files_read(&files, "--text-ids", ids);
    files_read(&files, options_given(o, "image") ? "--image" : "--codes", input);
    files_read(&files, "--model", options_text(o, "model", NULL));
    files_write(&files, "--logits-out", out);
    if (!files_check(&files, e) || !output_check("logits-out", out, ".npy", e) || !input_check(input, e) ||
        (ids && !text_ids_read(&j->text_file, &j->n_text, ids, e)) ||
        !command_open(&j->s, o, options_given(o, "image"), true, e) || !read_text(j, o, e) || !read_codes(j, o, e))
        return false;
    if (j->n_text != j->n_codes && j->n_text != 1 && j->n_codes != 1)
        return err_set(e, ERR_USAGE, "limn score: %d rows of text and %d of codes don't pair (give as many, or one)",
                       j->n_text, j->n_codes);
    j->rows = j->n_text > j->n_codes ? j->n_text : j->n_codes;
    int64_t shape[] = {j->rows, j->s.cells, j->s.info->codes};
    j->scores = array_new((size_t)j->rows, sizeof *j->scores, "scores", e);
    if (out)
        j->logits = array_new((size_t)j->rows, (size_t)(shape[1] * shape[2]) * sizeof *j->logits, "logits", e);
    if (!j->scores || (out && !j->logits) || !score_rows(j, e))
        return false;
    if (out && !npy_write(out, DTYPE_F32, 3, shape, j->logits, e))
        return false;
    if (out)
        say_wrote(out, "float32 [%d, %d, %d]", j->rows, j->s.cells, j->s.info->codes);
    print_scores(j, options_given(o, "json"));
    return command_profile(&j->s, o, e);
}

int command_score(const options *o)
{
    err e = {0};
    scoring j = {0};
    bool ok = score(&j, o, &e);
    scoring_release(&j);
    return ok ? 0 : report(&e);
}
