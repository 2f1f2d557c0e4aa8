/* A batch of sequences on the device: texts into caches, first codes, and the recorded step that chooses the next. */
#include "generate/batch.h"

#include <stdlib.h>
#include <string.h>

static int cells_of(const transformer *d)
{
    return d->grid_width * d->grid_height;
}

bool batch_open(batch *b, const transformer *d, run *r, int rows, int text, dtype keys, int draft, err *e)
{
    device *dev = run_device(r);
    int64_t cells = cells_of(d);
    const int spare = d->kind->fill ? 2 : 0; /* where a picture's rows go through the model together */
    *b = (batch){.rows = rows, .draft = draft, .window = 1};
    bool ok =
        tensor_new(&b->position, dev, DTYPE_I32, 1, (int64_t[]){rows + 1}, NULL, false, "positions", e) &&
        tensor_new(&b->known, dev, DTYPE_I32, 1, (int64_t[]){rows}, NULL, false, "known codes", e) &&
        tensor_new(&b->forced, dev, DTYPE_I32, 2, (int64_t[]){rows, cells}, NULL, false, "kept codes", e) &&
        tensor_new(&b->settings, dev, DTYPE_I32, 2, (int64_t[]){rows, SAMPLING_WORDS}, NULL, false, "settings", e) &&
        tensor_new(&b->last, dev, DTYPE_F32, 3, (int64_t[]){rows, 1, d->dim}, NULL, false, "prompts", e) &&
        session_open(&b->s, d, r, rows + spare, text, keys, e);
    /* rows that aren't used yet stand beside others */
    size_t most = (size_t)(cells > d->dim ? cells : d->dim) * (size_t)(rows + spare);
    int32_t *zeros = ok ? calloc(most, sizeof *zeros) : NULL;
    b->texts = ok ? calloc((size_t)rows * (size_t)text, sizeof *b->texts) : NULL;
    if (ok && !(zeros && b->texts))
        ok = err_no_memory(e, "batch", most * sizeof *zeros);
    if (ok) {
        run_write(r, b->s.codes, zeros);
        run_write(r, b->last, zeros);
    }
    free(zeros);
    if (!ok)
        batch_release(b);
    return ok;
}

void batch_release(batch *b)
{
    session_release(&b->s);
    buffer_free(b->position.buf);
    buffer_free(b->forced.buf);
    buffer_free(b->settings.buf);
    buffer_free(b->last.buf);
    buffer_free(b->known.buf);
    free(b->texts);
    *b = (batch){0};
}

/* Positions of a row before its first code. */
static int prefix_of(const batch *b, int i)
{
    const transformer *d = b->s.d;
    return d->own_lengths ? b->row[i].length : d->prefix;
}

int batch_known(const batch *b, int i)
{
    return b->row[i].position + 1 - prefix_of(b, i);
}

/* The position that the next step begins with: a window ends with the position that chooses the last cell. */
static int first_position(const batch *b, int i)
{
    int position = b->row[i].position, last = prefix_of(b, i) - 1 + cells_of(b->s.d) - b->window;
    return position < last ? position : last;
}

bool batch_fit_window(batch *b, int rows)
{
    int cells = cells_of(b->s.d), window = rows > 0 ? BATCH_MOST / rows : b->window;
    window = window < b->draft ? window : b->draft;
    window = window < cells - 1 ? window : cells - 1;
    window = window > 1 ? window : 1;
    bool other = window != b->window;
    b->window = window;
    return other;
}

/* Row i of the text ids, kept codes, positions and places, as the host knows them. */
static void fill_row(const batch *b, int i, int32_t *ids, int32_t *forced, int32_t *position, int32_t *place)
{
    const batch_row *row = &b->row[i];
    int cells = cells_of(b->s.d), room = b->s.text;
    position[i] = first_position(b, i);
    place[i] = position[i] + room - row->length;
    if (row->used && row->text)
        memcpy(ids + (i + 1) * room - row->length, row->text, (size_t)row->length * sizeof *ids);
    for (int c = 0; c < cells; c++)
        forced[i * cells + c] = row->used && row->kept ? row->kept[c] : -1;
}

bool batch_write(batch *b, const sampling *pictures, int n, err *e)
{
    const transformer *d = b->s.d;
    size_t rows = (size_t)b->rows, text = (size_t)b->s.text, cells = (size_t)cells_of(d);
    int32_t *ids = calloc(rows * (text + cells), sizeof *ids), *forced = ids ? ids + rows * text : NULL;
    int32_t position[BATCH_MOST + 1] = {0}, place[BATCH_MOST], known[BATCH_MOST],
                                  settings[BATCH_MOST * SAMPLING_WORDS] = {0};
    if (!ids)
        return err_no_memory(e, "batch", rows * (text + cells) * sizeof *ids);
    for (int i = 0; i < b->rows; i++) {
        fill_row(b, i, ids, forced, position, place);
        known[i] = b->row[i].position > 0 ? batch_known(b, i) : 0;
    }
    for (int i = 0; i < n; i++)
        sampling_put(settings + i * SAMPLING_WORDS, &pictures[i]);
    run *r = b->s.r;
    run_write(r, tensor_rows(b->s.ids, 0, b->rows), ids);
    run_write(r, b->forced, forced);
    run_write(r, b->position, position);
    run_write(r, b->known, known);
    if (d->own_lengths)
        run_write(r, b->s.memory.place, place);
    run_write(r, b->settings, settings);
    free(ids);
    return true;
}

static bool begins(const batch *b, int i)
{
    return i < b->rows && b->row[i].used && b->row[i].position == 0;
}

static bool same_text(const batch *b, int i, int j)
{
    const batch_row *x = &b->row[i], *y = &b->row[j];
    return x->length == y->length &&
           (x->text == y->text ||
            (x->text && y->text && !memcmp(x->text, y->text, (size_t)x->length * sizeof *x->text)));
}

/* A row whose caches begin with row i's text; -1: there is none. */
static int find_text(const batch *b, int i)
{
    const batch_row *row = &b->row[i];
    int j = 0;
    while (j < b->rows && !(row->text && b->lengths[j] == row->length &&
                            !memcmp(b->texts + j * b->s.text, row->text, (size_t)row->length * sizeof *row->text)))
        j++;
    return j < b->rows ? j : -1;
}

static void note_text(batch *b, int i)
{
    const batch_row *row = &b->row[i];
    b->lengths[i] = row->text ? row->length : 0;
    if (row->text)
        memcpy(b->texts + i * b->s.text, row->text, (size_t)row->length * sizeof *row->text);
}

/* The text of row `first` into its caches, and where it ends into `last` of n rows from there on: one at a time, so
 * that sums don't depend on how many there are. */
static void read_text(batch *b, int first, int n)
{
    const transformer *d = b->s.d;
    run *r = b->s.r;
    transformer_memory m = *session_rows(&b->s, first, 1);
    m.no_text = b->row[first].text && b->row[first].text[0] >= d->vocabulary;
    tensor x = d->kind->forward(r, d, tensor_rows(b->s.ids, first, 1), tensor_rows(b->s.codes, first, 1), &m,
                                tensor_rows(b->position, first, 1), prefix_of(b, first));
    op_repeat(r, tensor_rows(b->last, first, n), op_slice(r, x, prefix_of(b, first) - 1, 1));
}

/* What row `from` has of its text to n rows from `to` on. */
static void copy_text(batch *b, int from, int to, int n)
{
    session_repeat_row(&b->s, from, to, n);
    if (n > 0)
        op_repeat(b->s.r, tensor_rows(b->last, to, n), tensor_rows(b->last, from, 1));
}

/* The text of n rows from `first` on into their caches, by copies as far as possible: they are cheaper. */
static void put_text(batch *b, int first, int n)
{
    int from = find_text(b, first);
    run_reset(b->s.r); /* the queue is in order: what runs still is done before its memory is written */
    if (from < 0)
        read_text(b, first, n);
    else if (from != first)
        copy_text(b, from, first, 1);
    if (from < 0)
        session_repeat_row(&b->s, first, first + 1, n - 1);
    else
        copy_text(b, first, first + 1, n - 1);
    for (int i = first; i < first + n; i++)
        note_text(b, i);
}

static void advance(batch *b, int first, int n, int by)
{
    op_advance(b->s.r, tensor_rows(b->position, first, n), by);
    if (b->s.d->own_lengths)
        op_advance(b->s.r, tensor_rows(b->s.memory.place, first, n), by);
}

/* For sampling: the positions of the first rows in their own sequences, and of how many text comes first. */
static tensor places_of(const batch *b, int rows)
{
    return tensor_rows(b->s.d->own_lengths ? b->s.memory.place : b->position, 0, rows);
}

static int text_of(const batch *b)
{
    return b->s.d->own_lengths ? b->s.text : b->s.d->prefix;
}

/* x[rows,1,dim] -> logits[rows, codes] */
static tensor logits_of(batch *b, tensor x)
{
    const transformer *d = b->s.d;
    tensor logits = op_linear(b->s.r, x, d->image_head, ACT_NONE);
    return tensor_shaped(logits, 2, (int64_t[]){x.shape[0], d->codes});
}

/* What op_verify works on: the first rows. */
static drafts drafts_of(const batch *b, int rows)
{
    bool own = b->s.d->own_lengths;
    return (drafts){.codes = b->s.codes,
                    .forced = b->forced,
                    .position = places_of(b, rows),
                    .also = own ? tensor_rows(b->position, 0, rows) : (tensor){0},
                    .known = b->known,
                    .text_length = text_of(b),
                    .grid_width = b->s.d->grid_width};
}

void batch_begin(batch *b, int first, int pictures)
{
    run *r = b->s.r;
    int rows = 0;
    for (int i = 0, n; i < b->rows; i += n) {
        n = 1;
        rows = b->row[i].used ? i + 1 : rows;
        if (!begins(b, i))
            continue;
        while (begins(b, i + n) && same_text(b, i, i + n))
            n++;
        rows = i + n;
        put_text(b, i, n);
        advance(b, i, n, prefix_of(b, i) - 1);
    }
    run_reset(r);
    tensor settings = tensor_rows(b->settings, first, pictures - first);
    tensor logits = op_guide(r, logits_of(b, tensor_rows(b->last, 0, rows)), settings);
    op_sample(r, logits, b->s.codes, b->forced, places_of(b, b->rows), text_of(b), settings);
    if (b->draft > 1) {
        const drafts d = drafts_of(b, b->rows);
        op_first_drafts(r, &d, settings);
    }
    for (int i = 0; i < b->rows; i++)
        if (begins(b, i)) {
            advance(b, i, 1, 1);
            if (b->draft > 1)
                op_advance(r, tensor_rows(b->known, i, 1), 1);
            b->row[i].position = prefix_of(b, i);
        }
}

void batch_move(batch *b, int from, int to)
{
    run *r = b->s.r;
    session_copy_row(&b->s, from, to);
    op_repeat(r, tensor_rows(b->last, to, 1), tensor_rows(b->last, from, 1));
    b->lengths[to] = b->lengths[from];
    memcpy(b->texts + to * b->s.text, b->texts + from * b->s.text, (size_t)b->s.text * sizeof *b->texts);
    b->row[to] = b->row[from];
    b->row[from] = (batch_row){0};
}

void batch_record(batch *b, int rows, int pictures, bool by_choice)
{
    const transformer *d = b->s.d;
    run *r = b->s.r;
    if (b->recorded == rows && b->pictures == pictures && b->by_choice == by_choice && b->window_recorded == b->window)
        return;
    run_reset(r);
    run_record(r);
    /* with several positions each of a window is as if alone (op_attention): one row takes another's too */
    int positions = b->window > 1 && rows == 1 ? 2 : rows;
    tensor settings = tensor_rows(b->settings, 0, pictures), position = tensor_rows(b->position, 0, positions);
    tensor codes = tensor_rows(b->s.codes, 0, rows);
    tensor x = d->kind->forward(r, d, (tensor){0}, codes, session_rows(&b->s, 0, rows), position, b->window);
    if (b->window > 1) {
        const drafts all = drafts_of(b, rows);
        op_verify(r, op_linear(r, x, d->image_head, ACT_NONE), &all, settings, by_choice);
    } else {
        op_sample_step(r, logits_of(b, x), b->s.codes, b->forced, places_of(b, rows), text_of(b), settings, by_choice);
        if (d->own_lengths)
            op_advance(r, position, 1);
    }
    b->recorded = rows;
    b->pictures = pictures;
    b->by_choice = by_choice;
    b->window_recorded = b->window;
}

void batch_step(batch *b)
{
    for (int i = 0; i < b->recorded && b->window == 1; i++)
        b->row[i].position++;
    run_replay(b->s.r);
}

bool batch_read_known(batch *b, err *e)
{
    int32_t known[BATCH_MOST];
    for (int i = 0; i < b->recorded; i++) /* for a device that only counts: as if all drafts of a pass were right */
        known[i] = batch_known(b, i) + b->window < cells_of(b->s.d) ? batch_known(b, i) + b->window : cells_of(b->s.d);
    run_read(b->s.r, b->known, known);
    if (!run_finish(b->s.r, e))
        return false;
    for (int i = 0; i < b->recorded; i++)
        b->row[i].position = prefix_of(b, i) + known[i] - 1;
    return true;
}
