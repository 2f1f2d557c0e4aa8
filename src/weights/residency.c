/* The parameter table of a model that is read from a file: which weights are on the device. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/control.h"
#include "base/os.h"
#include "device/count.h"
#include "weights/params_internal.h"

enum { FORGET_AFTER = 1 << 25 }; /* bytes of the file that are in memory beside what is made of them */

/* The first tensor of the file that nobody declared. */
static bool check_left_over(const param_table *t, const gguf *g, err *e)
{
    for (size_t i = 0; i < gguf_tensor_count(g); i++) {
        const char *name = gguf_tensor(g, i)->name;
        size_t k = 0;
        while (k < t->n && strcmp(t->list[k].name, name))
            k++;
        if (k == t->n)
            return err_set(e, ERR_FAILED, "%s: tensor %s belongs to nothing in this architecture", gguf_name(g), name);
    }
    return true;
}

/* ---- one parameter ---- */

/* Whether the device reads the file's own type. */
static bool keeps_type(const param *p)
{
    dtype type = p->file->type;
    return type == DTYPE_F32 ||
           (p->use != PARAM_VECTOR && (type == DTYPE_F16 || type == DTYPE_Q8_0 || type == DTYPE_Q4_0));
}

/* Whether the device reads p in panels.  They are packed from a tensor that is freed afterwards. */
static bool is_packed(const param_table *t, const param *p)
{
    return p->use == PARAM_CONV || (p->use == PARAM_MATRIX && linear_packs(p->file->type) && !t->plain);
}

static void *floats_of(const void *file, err *e)
{
    return param_floats(file, e);
}

/* Makes p a tensor on r's device: on t's own device, or on its counting twin if p is not to be there. */
static bool load(const param_table *t, param *p, run *r, err *e)
{
    const file_tensor *f = p->file;
    device *d = run_device(r);
    bool keep = keeps_type(p);
    uint64_t floats = 4 * (uint64_t)file_tensor_count(f);
    if (p->use == PARAM_CONV) /* a panel is in one piece */
        floats = floats / (uint64_t)p->shape[0] * 32;
    if (!param_one_piece(p, d, floats, e))
        return false;
    tensor made = {0};
    bool ok = keep ? tensor_new(&made, d, f->type, p->nd, p->shape, f->data, t->lasting, p->name, e)
                   : tensor_new_filled(&made, d, DTYPE_F32, p->nd, p->shape, floats_of, f, p->name, e);
    if (ok && is_packed(t, p)) {
        tensor panels = {0};
        ok = (p->use == PARAM_CONV ? conv_pack : linear_pack)(r, &panels, made, p->name, e);
        ok = run_finish(r, e) && ok; /* the source is freed next */
        buffer_free(made.buf);
        made = panels;
    }
    if (!ok) {
        buffer_free(made.buf);
        return false;
    }
    buffer_free(p->to->buf);
    *p->to = made;
    return true;
}

/* A run on the counting twin: for `load` of parameters that are not on the device. */
static run *absent(const param_table *t, err *e)
{
    device *twin = device_counting(t->dev, e);
    return twin ? run_new(twin, e) : NULL;
}

static bool is_loaded(const param_table *t, const param *p)
{
    return p->to->buf && p->to->buf->dev == t->dev;
}

/* ---- layers ---- */

/* Assigns p->streams, the layer of t that p is streamed with: t's last layer, or a new one if p begins the next block;
 * -1 if p can't be streamed.  False: no memory. */
static bool find_layer(param_table *t, param *p, err *e)
{
    p->streams = -1;
    if (!p->layer || p->use != PARAM_MATRIX || !keeps_type(p) || p->to->buf->rows)
        return true;
    param_layer *last = t->n_layers ? &t->layers[t->n_layers - 1] : NULL;
    if (!last || last->stack != p->stack || last->layer != p->layer) {
        param_layer *grown = realloc(t->layers, (size_t)(t->n_layers + 1) * sizeof *grown);
        if (!grown)
            return err_no_memory(e, "layers", (size_t)(t->n_layers + 1) * sizeof *grown);
        t->layers = grown;
        last = &t->layers[t->n_layers++];
        *last = (param_layer){.stack = p->stack, .layer = p->layer, .uses = p->uses};
    }
    last->bytes += p->bytes;
    last->room += stream_room(p->to->type, p->bytes);
    p->streams = t->n_layers - 1;
    return true;
}

int params_layers(const param_table *t, unsigned uses)
{
    int n = 0;
    for (int i = 0; i < t->n_layers; i++)
        n += (t->layers[i].uses & uses) != 0;
    return n;
}

/* Chooses the n layers for `uses` that are streamed. */
static void choose(param_table *t, unsigned uses, int n)
{
    for (int first = 0, next; first < t->n_layers; first = next) {
        for (next = first + 1; next < t->n_layers && t->layers[next].stack == t->layers[first].stack;)
            next++;
        if (!(t->layers[first].uses & uses))
            continue;
        int of = next - first, some = n < of ? n : of;
        for (int i = 0; i < of; i++)
            t->layers[first + i].streamed = (i + 1) * some / of > i * some / of;
        n -= some;
    }
}

/* The size of a place to stream to. */
static uint64_t place_bytes(const param_table *t)
{
    uint64_t most = 0;
    for (int i = 0; i < t->n_layers; i++)
        if (t->layers[i].streamed && t->layers[i].room > most)
            most = t->layers[i].room;
    return most;
}

uint64_t params_streamed(const param_table *t)
{
    uint64_t bytes = 0;
    for (int i = 0; i < t->n_layers; i++)
        if (t->layers[i].streamed)
            bytes += t->layers[i].bytes;
    return bytes;
}

static bool is_streamed(const param_table *t, const param *p)
{
    return p->streams >= 0 && t->layers[p->streams].streamed;
}

uint64_t params_bytes(param_table *t, unsigned uses, int streamed)
{
    param_table copy = *t;
    uint64_t bytes = 0;
    copy.layers = malloc((size_t)(t->n_layers + 1) * sizeof *copy.layers);
    if (!copy.layers)
        return UINT64_MAX;
    if (t->n_layers)
        memcpy(copy.layers, t->layers, (size_t)t->n_layers * sizeof *copy.layers);
    choose(&copy, ~0u, 0);
    choose(&copy, uses, streamed);
    for (size_t i = 0; i < t->n; i++)
        if (t->list[i].uses & uses && !is_streamed(&copy, &t->list[i]))
            bytes += t->list[i].bytes;
    bytes += 2 * place_bytes(&copy);
    free(copy.layers);
    return bytes;
}

uint64_t params_loaded(const param_table *t)
{
    uint64_t bytes = t->stream ? 2 * place_bytes(t) : 0;
    for (size_t i = 0; i < t->n; i++)
        if (is_loaded(t, &t->list[i]) && !is_streamed(t, &t->list[i]))
            bytes += t->list[i].bytes;
    return bytes;
}

uint64_t params_missing(const param_table *t, unsigned uses)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < t->n; i++)
        if (t->list[i].uses & uses && !is_loaded(t, &t->list[i]))
            bytes += t->list[i].bytes;
    return bytes;
}

uint64_t params_passing(const param_table *t, unsigned uses)
{
    uint64_t most = 0;
    for (size_t i = 0; i < t->n; i++) {
        const param *p = &t->list[i];
        if (p->uses & uses && is_packed(t, p) && !is_loaded(t, p)) {
            uint64_t bytes = dtype_row_bytes(keeps_type(p) ? p->file->type : DTYPE_F32, file_tensor_count(p->file));
            most = bytes > most ? bytes : most;
        }
    }
    return most;
}

/* ---- the table ---- */

bool params_count_memory(param_table *t, run *r, err *e)
{
    t->dev = run_device(r);
    run *counting = absent(t, e);
    bool ok = counting != NULL;
    for (size_t i = 0; ok && i < t->n; i++) {
        param *p = &t->list[i];
        ok = load(t, p, counting, e);
        p->bytes = tensor_bytes(p->to);
        ok = ok && find_layer(t, p, e);
    }
    run_free(counting);
    return ok;
}

/* A training that diverged leaves NaN in all tensors, so it is enough to look at the small ones, which takes no time.
 */
static bool check_vector(const param *p, const gguf *g, err *e)
{
    enum { PIECE = 256 };
    float values[PIECE];
    int64_t count = file_tensor_count(p->file), odd = 0;
    if (p->use != PARAM_VECTOR || p->file->type != DTYPE_F32)
        return true;
    for (int64_t at = 0; at < count; at += PIECE) {
        int64_t n = count - at < PIECE ? count - at : PIECE;
        file_tensor_read(p->file, at, n, values);
        for (int64_t i = 0; i < n; i++)
            odd += !isfinite(values[i]);
    }
    return !odd || err_set(e, ERR_FAILED,
                           "%s: tensor %s: %lld of %lld values are no numbers (NaN or infinite): the model can't draw "
                           "(take an earlier one, or convert its checkpoint again)",
                           gguf_name(g), p->name, (long long)odd, (long long)count);
}

bool params_open(param_table *t, run *r, const gguf *g, bool lasting, const limn_control *k, err *e)
{
    if (t->error.code)
        return err_set(e, t->error.code, "%s", t->error.text);
    if (t->n != gguf_tensor_count(g) && !check_left_over(t, g, e))
        return false;
    t->lasting = lasting;
    for (size_t i = 0; i < t->n; i++)
        if (!(t->list[i].file = param_find(&t->list[i], g, e)) || !check_vector(&t->list[i], g, e) ||
            !control_goes_on(k, "open", (int64_t)i + 1, (int64_t)t->n, e))
            return false;
    return params_count_memory(t, r, e);
}

bool params_load_frozen(param_table *t, run *r, const gguf *g, err *e)
{
    if (t->error.code)
        return err_set(e, t->error.code, "%s", t->error.text);
    t->lasting = t->plain = true;
    for (size_t i = 0; i < t->n; i++)
        if (!(t->list[i].file = param_find(&t->list[i], g, e)) || !load(t, &t->list[i], r, e))
            return false;
    return true;
}

void params_replace(param *p, void *data)
{
    void *before = (void *)p->replaced.data;
    p->replaced = *p->file;
    p->replaced.data = data;
    p->file = &p->replaced;
    os_aligned_free(before);
}

bool params_grow(param_table *t, param *p, int64_t rows, void *data, err *e)
{
    run *counting = absent(t, e);
    if (!counting) {
        os_aligned_free(data);
        return false;
    }
    params_replace(p, data);
    p->shape[0] = p->replaced.shape[0] = rows;
    p->replaced.bytes = dtype_row_bytes(p->replaced.type, file_tensor_count(&p->replaced));
    bool ok = load(t, p, counting, e);
    p->bytes = ok ? tensor_bytes(p->to) : 0;
    run_free(counting);
    return ok;
}

static bool load_streamed(param_table *t, run *r, err *e)
{
    int parts = 0;
    for (int i = 0; i < t->n_layers; i++)
        parts += t->layers[i].streamed;
    t->stream = stream_new(run_device(r), place_bytes(t), parts, t->rereads ? t->mapped : NULL, e);
    parts = -1;
    for (size_t i = 0, last = SIZE_MAX; t->stream && i < t->n; i++) {
        param *p = &t->list[i];
        if (!is_streamed(t, p))
            continue;
        parts += (size_t)p->streams != last;
        last = (size_t)p->streams;
        buffer_free(p->to->buf);
        if (!stream_tensor(t->stream, p->to, parts, p->file->type, p->nd, p->shape, p->file->data, e))
            return false;
    }
    return t->stream != NULL;
}

bool params_load(param_table *t, run *r, unsigned uses, int streamed, err *e)
{
    if (streamed && !t->stream) {
        choose(t, uses, streamed);
        if (!load_streamed(t, r, e)) {
            if (!t->stream)
                choose(t, ~0u, 0); /* none is */
            return false;
        }
    }
    size_t read = 0;
    for (size_t i = 0; i < t->n; i++) {
        param *p = &t->list[i];
        if (!(p->uses & uses) || is_loaded(t, p))
            continue;
        if (!load(t, p, r, e))
            return false;
        read += p->file->bytes;
        if (t->mapped && read > FORGET_AFTER) {
            file_map_forget(t->mapped);
            read = 0;
        }
    }
    if (t->mapped && read)
        file_map_forget(t->mapped);
    return true;
}

void params_forget_pages(const param_table *t, unsigned uses)
{
    for (size_t i = 0; t->mapped && i < t->n; i++)
        if (t->list[i].uses & uses)
            file_map_forget_part(t->mapped, t->list[i].file->data, t->list[i].file->bytes);
}

bool params_unload(param_table *t, run *r, unsigned keep, err *e)
{
    run *counting = absent(t, e);
    bool streams = false, ok = run_finish(r, e) && counting;
    for (size_t i = 0; ok && i < t->n; i++) {
        param *p = &t->list[i];
        if (p->uses & keep || !is_loaded(t, p))
            continue;
        streams = streams || is_streamed(t, p);
        ok = load(t, p, counting, e);
    }
    run_free(counting);
    if (ok && streams) {
        stream_free(t->stream);
        t->stream = NULL;
        choose(t, ~0u, 0);
    }
    return ok;
}
