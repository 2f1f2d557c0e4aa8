/* Sampling: the same codes as the reference, and as often as their probabilities say. */
#include <math.h>
#include <string.h>

#include "base/rng.h"
#include "ops_cases.h"

enum { CELLS = 6, TEXT = 4 };

/* A row of settings for each of n; row i has an other where there are twice as many sequences. */
static tensor settings_of(ops_env *v, const sampling *each, int n, int sequences)
{
    int32_t *words = ops_memory(v, (size_t)n, SAMPLING_WORDS * sizeof *words);
    for (int i = 0; i < n; i++) {
        sampling s = each[i];
        s.row = i;
        s.other = sequences > n ? n + i : -1;
        sampling_put(words + i * SAMPLING_WORDS, &s);
    }
    return ops_integers(v, SHAPE(n, SAMPLING_WORDS), words);
}

/* Codes of one op_sample at each cell from `first` on; the tensor codes has code_rows rows, and starts with -7.
 * forced[code_rows, CELLS] or NULL.  Row i draws from s->stream + i. */
static int32_t *sample_cells(ops_env *v, const float *logits, int rows, int k, int code_rows, const int32_t *forced,
                             const sampling *s, int first)
{
    int32_t *codes = ops_memory(v, (size_t)(code_rows * CELLS), sizeof *codes);
    int32_t *not_forced = ops_memory(v, (size_t)(code_rows * CELLS), sizeof *not_forced);
    sampling *each = ops_memory(v, (size_t)rows, sizeof *each);
    for (int i = 0; i < rows; i++) {
        each[i] = *s;
        each[i].stream += (uint32_t)i;
    }
    for (int i = 0; i < code_rows * CELLS; i++) {
        codes[i] = -7;
        not_forced[i] = -1;
    }
    tensor x = ops_tensor(v, DTYPE_F32, SHAPE(rows, k), (float *)(uintptr_t)logits);
    tensor y = ops_integers(v, SHAPE(code_rows, CELLS), codes);
    tensor f = ops_integers(v, SHAPE(code_rows, CELLS), forced ? forced : not_forced);
    tensor position = ops_integers(v, SHAPE(1), (int32_t[]){TEXT - 1 + first});
    tensor settings = settings_of(v, each, rows, code_rows);
    for (int c = first; c < CELLS; c++) {
        op_sample(v->r, x, y, f, position, TEXT, settings);
        op_advance(v->r, position, 1);
    }
    run_read(v->r, y, codes);
    err e = {0};
    if (!run_finish(v->r, &e))
        fail_msg("%s", e.text);
    return codes;
}

static void same_as_reference(ops_env *v, const float *logits, int rows, int k, const sampling *s)
{
    const int32_t *codes = sample_cells(v, logits, rows, k, rows, NULL, s, 0);
    for (int i = 0; i < rows * CELLS; i++) {
        int row = i / CELLS, expected = ref_sample(logits + row * k, k, s, row, i % CELLS);
        if (codes[i] != expected)
            fail_msg("temperature %g, top-k %d, top-p %g, %d codes: row %d cell %d is %d, expected %d", s->temperature,
                     s->top_k, s->top_p, k, row, i % CELLS, codes[i], expected);
    }
}

static void test_settings(ops_env *v)
{
    static const sampling settings[] = {
        {.temperature = 1, .seed = 1},
        {.temperature = 0.7f, .seed = UINT64_C(0x123456789abcdef0), .stream = 5},
        {.temperature = 0},
        {.temperature = 0, .top_k = 3, .top_p = 0.5f},
        {.temperature = 1, .top_k = 1, .seed = 2},
        {.temperature = 2, .top_k = 7, .seed = 3},
        {.temperature = 1, .top_k = 1000000, .seed = 4},
        {.temperature = 1, .top_p = 0.3f, .seed = 5},
        {.temperature = 1, .top_p = 0.95f, .seed = 6},
        {.temperature = 1.5f, .top_p = 1e-6f, .seed = 7},
        {.temperature = 1, .top_p = 1, .seed = 8},
        {.temperature = 1.3f, .top_k = 20, .top_p = 0.6f, .seed = 9},
        {.temperature = 0.01f, .top_k = 50, .top_p = 0.9f, .seed = 10, .stream = UINT32_MAX - 1},
    };
    static const int sizes[] = {1, 5, 37, 500, 8192, 17000}; /* the last two beyond what groups hold */
    for (size_t j = 0; j < sizeof sizes / sizeof *sizes; j++) {
        float *logits = ops_numbers(v, 3 * sizes[j]);
        for (int i = 0; i < 3 * sizes[j]; i++)
            logits[i] *= 3;
        for (size_t i = 0; i < sizeof settings / sizeof *settings; i++)
            same_as_reference(v, logits, 3, sizes[j], &settings[i]);
    }
}

/* Five values only, so that the k-th and the nucleus's last have equals; they stay, and greedy takes the first. */
static void test_ties(ops_env *v)
{
    enum { K = 101 };
    float *logits = ops_numbers(v, 4 * K);
    for (int i = 0; i < 4 * K; i++)
        logits[i] = floorf(fminf(fmaxf(logits[i], -2), 2)); /* -2 … 2 */
    for (int k = 0; k < 60; k += 7)
        same_as_reference(v, logits, 4, K, &(sampling){.temperature = 1, .top_k = k, .seed = 11 + (uint64_t)k});
    for (int p = 1; p < 10; p++)
        same_as_reference(
            v, logits, 4, K,
            &(sampling){.temperature = 1, .top_k = p * 9, .top_p = 0.1037f * (float)p, .seed = 50 + (uint64_t)p});
    same_as_reference(v, logits, 4, K, &(sampling){0});
}

static void test_forced(ops_env *v)
{
    enum { ROWS = 2, K = 50 };
    static const int32_t forced[2 * ROWS * CELLS] = {-1, 3, 0, -1, 49, -1, 7, -1, 2, -1, -1, 48};
    const sampling s = {.temperature = 1, .seed = 3};
    float *logits = ops_numbers(v, ROWS * K);
    const int32_t *codes = sample_cells(v, logits, ROWS, K, 2 * ROWS, forced, &s, 1);
    for (int i = 0; i < 2 * ROWS * CELLS; i++) {
        int row = i / CELLS % ROWS, cell = i % CELLS;
        int expected = cell < 1                          ? -7
                       : forced[row * CELLS + cell] >= 0 ? forced[row * CELLS + cell]
                                                         : ref_sample(logits + row * K, K, &s, row, cell);
        assert_int_equal(codes[i], expected);
    }
}

/* Each row of one launch has its own settings, and its own cell where positions are. */
static void test_rows(ops_env *v)
{
    enum { ROWS = 5, K = 400 };
    static const sampling each[ROWS] = {
        {.temperature = 1, .seed = 1, .stream = 3},
        {.temperature = 0},
        {.temperature = 0.7f, .seed = UINT64_C(0x123456789abcdef0), .top_k = 9},
        {.temperature = 1.3f, .top_k = 200, .top_p = 0.6f, .seed = 9, .stream = 1},
        {.temperature = 2, .top_p = 0.9f, .seed = 1, .stream = 3},
    };
    float *logits = ops_numbers(v, ROWS * K);
    int32_t codes[ROWS * CELLS], forced[ROWS * CELLS], first[ROWS];
    for (int i = 0; i < ROWS * CELLS; i++)
        codes[i] = forced[i] = -1;
    for (int i = 0; i < ROWS; i++)
        first[i] = TEXT - 1 + i;
    tensor y = ops_integers(v, SHAPE(ROWS, CELLS), codes), position = ops_integers(v, SHAPE(ROWS), first);
    tensor x = ops_tensor(v, DTYPE_F32, SHAPE(ROWS, K), logits), settings = settings_of(v, each, ROWS, ROWS);
    tensor f = ops_integers(v, SHAPE(ROWS, CELLS), forced);
    for (int c = 0; c < CELLS; c++) {
        op_sample(v->r, x, y, f, position, TEXT, settings);
        op_advance(v->r, position, 1);
    }
    run_read(v->r, y, codes);
    err e = {0};
    if (!run_finish(v->r, &e))
        fail_msg("%s", e.text);
    for (int i = 0; i < ROWS * CELLS; i++) {
        int row = i / CELLS, cell = i % CELLS;
        int expected = cell < row ? -1 : ref_sample(logits + row * K, K, &each[row], 0, cell);
        assert_int_equal(codes[i], expected);
    }
}

/* With guidance and without in one launch: the latter's logits are as they were. */
static void test_guide(ops_env *v)
{
    enum { ROWS = 3, K = 70 };
    static const sampling each[ROWS] = {{.guidance = 2.5f, .row = 1, .other = 3},
                                        {.guidance = 9, .row = 2, .other = -1},
                                        {.guidance = 0.5f, .row = 0, .other = 1}};
    float *x = ops_numbers(v, 4 * K), y[ROWS * K];
    int32_t words[ROWS * SAMPLING_WORDS];
    for (int i = 0; i < ROWS; i++)
        sampling_put(words + i * SAMPLING_WORDS, &each[i]);
    run_read(
        v->r,
        op_guide(v->r, ops_tensor(v, DTYPE_F32, SHAPE(4, K), x), ops_integers(v, SHAPE(ROWS, SAMPLING_WORDS), words)),
        y);
    err e = {0};
    if (!run_finish(v->r, &e))
        fail_msg("%s", e.text);
    for (int i = 0; i < K; i++) {
        float a = x[3 * K + i], b = x[K + i];
        assert_true(fabsf(y[i] - (a + 2.5f * (b - a))) < 1e-5f);
        assert_true(y[K + i] == x[2 * K + i]);
        assert_true(fabsf(y[2 * K + i] - (b + 0.5f * (x[i] - b))) < 1e-5f);
    }
}

/* A step is what its three ops make of it one by one: guided pictures beside others, at positions of their own. */
static void test_step(ops_env *v)
{
    enum { PICTURES = 3, SEQUENCES = 5, K = 700 };
    static const sampling each[PICTURES] = {
        {.temperature = 1, .seed = 1, .stream = 3, .guidance = 2.5f, .row = 0, .other = 3},
        {.temperature = 0.7f, .seed = 9, .top_k = 30, .row = 1, .other = -1},
        {.temperature = 1.2f, .seed = 5, .top_p = 0.8f, .guidance = 4, .row = 2, .other = 4}};
    int32_t words[PICTURES * SAMPLING_WORDS], fresh[SEQUENCES * CELLS], codes[2][SEQUENCES * CELLS], at[2][SEQUENCES],
        first[SEQUENCES] = {TEXT - 1, TEXT + 1, TEXT, TEXT - 1, TEXT};
    for (int i = 0; i < PICTURES; i++)
        sampling_put(words + i * SAMPLING_WORDS, &each[i]);
    for (int i = 0; i < SEQUENCES * CELLS; i++)
        fresh[i] = -1;
    tensor x = ops_tensor(v, DTYPE_F32, SHAPE(SEQUENCES, K), ops_numbers(v, SEQUENCES * K));
    tensor settings = ops_integers(v, SHAPE(PICTURES, SAMPLING_WORDS), words);
    tensor forced = ops_integers(v, SHAPE(SEQUENCES, CELLS), fresh);
    for (int joined = 0; joined < 2; joined++) {
        tensor y = ops_integers(v, SHAPE(SEQUENCES, CELLS), fresh);
        tensor position = ops_integers(v, SHAPE(SEQUENCES), first);
        for (int c = 0; c < CELLS + 1; c++) { /* the last one is beyond all cells */
            if (joined) {
                op_sample_step(v->r, x, y, forced, position, TEXT, settings, true);
                continue;
            }
            op_sample(v->r, op_guide(v->r, x, settings), y, forced, position, TEXT, settings);
            op_advance(v->r, position, 1);
        }
        run_read(v->r, y, codes[joined]);
        run_read(v->r, position, at[joined]);
    }
    err e = {0};
    if (!run_finish(v->r, &e))
        fail_msg("%s", e.text);
    assert_memory_equal(codes[0], codes[1], sizeof codes[0]);
    assert_memory_equal(at[0], at[1], sizeof at[0]);
    assert_true(codes[0][CELLS - 1] >= 0 && codes[0][4 * CELLS + CELLS - 1] == codes[0][2 * CELLS + CELLS - 1]);
}

/* Numbers that stand for a model: the logits of a cell are those of its number, of the code before it and of whether
 * there is a prompt. */
enum { DRAFT_CELLS = 13, DRAFT_WIDTH = 4, DRAFT_CODES = 29, DRAFT_PICTURES = 3, DRAFT_SEQUENCES = 5, KINDS = 3 };
enum { DRAFT_GIVEN = 8 };
typedef struct draft_model {
    float *table; /* [2, DRAFT_CELLS, KINDS, DRAFT_CODES] */
    int32_t codes[DRAFT_SEQUENCES * DRAFT_CELLS], at[DRAFT_SEQUENCES], known[DRAFT_SEQUENCES];
    tensor x; /* [DRAFT_SEQUENCES, t, DRAFT_CODES] */
} draft_model;

/* The logits of t cells of each sequence, from its position on, for the codes as they are. */
static void fill_logits(ops_env *v, draft_model *m, int t)
{
    float *x = ops_memory(v, (size_t)(DRAFT_SEQUENCES * t * DRAFT_CODES), sizeof *x);
    for (int s = 0; s < DRAFT_SEQUENCES; s++)
        for (int j = 0; j < t; j++) {
            int cell = m->at[s] + 1 - TEXT + j, before = cell > 0 ? m->codes[s * DRAFT_CELLS + cell - 1] : 0;
            const float *from =
                m->table + (((s >= DRAFT_PICTURES) * DRAFT_CELLS + cell) * KINDS + before % KINDS) * DRAFT_CODES;
            memcpy(x + (s * t + j) * DRAFT_CODES, from, DRAFT_CODES * sizeof *x);
        }
    m->x = ops_tensor(v, DTYPE_F32, SHAPE(DRAFT_SEQUENCES, t, DRAFT_CODES), x);
}

/* Draws all codes by passes over up to t positions; returns how many passes of those after the first code. */
static int draw_drafted(ops_env *v, draft_model *m, tensor settings, tensor forced, int t)
{
    err e = {0};
    for (int i = 0; i < DRAFT_SEQUENCES * DRAFT_CELLS; i++)
        m->codes[i] = -1;
    for (int i = 0; i < DRAFT_SEQUENCES; i++) {
        m->at[i] = TEXT - 1;
        m->known[i] = 1;
    }
    tensor codes = ops_integers(v, SHAPE(DRAFT_SEQUENCES, DRAFT_CELLS), m->codes);
    tensor position = ops_integers(v, SHAPE(DRAFT_SEQUENCES), m->at), also = ops_integers(v, SHAPE(5), m->at);
    const drafts d = {.codes = codes,
                      .forced = forced,
                      .position = position,
                      .also = also,
                      .known = ops_integers(v, SHAPE(DRAFT_SEQUENCES), m->known),
                      .text_length = TEXT,
                      .grid_width = DRAFT_WIDTH};
    int passes = 0, least = 1;
    for (; least < DRAFT_CELLS; passes++) {
        bool several = passes && t > 1;
        fill_logits(v, m, several ? t : 1);
        if (several) {
            op_verify(v->r, m->x, &d, settings, true);
        } else {
            op_sample_step(v->r, tensor_shaped(m->x, SHAPE(DRAFT_SEQUENCES, DRAFT_CODES)), codes, forced, position,
                           TEXT, settings, true);
            op_advance(v->r, also, 1);
        }
        if (!passes && t > 1)
            op_first_drafts(v->r, &d, settings);
        run_read(v->r, codes, m->codes);
        run_read(v->r, also, m->at);
        run_read(v->r, position, m->at);
        run_read(v->r, d.known, m->known);
        if (!run_finish(v->r, &e))
            fail_msg("%s", e.text);
        run_next(v->r);
        least = several ? DRAFT_CELLS : passes + 1;
        for (int i = 0; several && i < DRAFT_SEQUENCES; i++)
            least = m->known[i] < least ? m->known[i] : least;
    }
    return passes;
}

/* Codes by several at once are those one after another, also where many are given. */
static void test_drafts(ops_env *v)
{
    static const sampling each[DRAFT_PICTURES] = {
        {.temperature = 1, .seed = 1, .stream = 3, .guidance = 2.5f, .row = 0, .other = 3},
        {.temperature = 0.6f, .seed = 9, .top_k = 7, .row = 1, .other = -1},
        {.temperature = 0, .guidance = 4, .row = 2, .other = 4}};
    int32_t words[DRAFT_PICTURES * SAMPLING_WORDS], given[DRAFT_SEQUENCES * DRAFT_CELLS],
        one_by_one[2][sizeof given / 4];
    for (int i = 0; i < DRAFT_PICTURES; i++)
        sampling_put(words + i * SAMPLING_WORDS, &each[i]);
    draft_model m = {.table = ops_numbers(v, 2 * DRAFT_CELLS * KINDS * DRAFT_CODES)};
    tensor settings = ops_integers(v, SHAPE(DRAFT_PICTURES, SAMPLING_WORDS), words);
    for (int some = 0; some < 2; some++) {
        for (int i = 0; i < DRAFT_SEQUENCES * DRAFT_CELLS; i++)
            given[i] = some && i % DRAFT_CELLS < DRAFT_GIVEN ? i % DRAFT_CODES : -1;
        tensor forced = ops_integers(v, SHAPE(DRAFT_SEQUENCES, DRAFT_CELLS), given);
        assert_int_equal(draw_drafted(v, &m, settings, forced, 1), DRAFT_CELLS);
        memcpy(one_by_one[some], m.codes, sizeof m.codes);
        for (int t = 2; t < DRAFT_CELLS; t += t < 4 ? 2 : 8) {
            int passes = draw_drafted(v, &m, settings, forced, t);
            assert_memory_equal(m.codes, one_by_one[some], sizeof m.codes);
            assert_true(passes < DRAFT_CELLS);
            if (some)
                assert_true(passes <= DRAFT_CELLS - DRAFT_GIVEN + 1 + (DRAFT_GIVEN + t - 2) / t);
            for (int i = 0; i < DRAFT_PICTURES; i++) {
                assert_int_equal(m.known[i], DRAFT_CELLS);
                assert_int_equal(m.at[i], TEXT - 1 + DRAFT_CELLS - t);
            }
        }
    }
}

/* Row 2 of a batch with stream s draws what row 0 draws with stream s + 2. */
static void test_streams(ops_env *v)
{
    enum { ROWS = 4, K = 300 };
    float *logits = ops_numbers(v, K), *repeated = ops_memory(v, ROWS * K, sizeof *repeated);
    for (int i = 0; i < ROWS; i++)
        memcpy(repeated + i * K, logits, K * sizeof *logits);
    sampling s = {.temperature = 1, .seed = 77, .stream = 9};
    const int32_t *all = sample_cells(v, repeated, ROWS, K, ROWS, NULL, &s, 0);
    for (int i = 0; i < ROWS; i++, s.stream++)
        assert_memory_equal(all + i * CELLS, sample_cells(v, logits, 1, K, 1, NULL, &s, 0), CELLS * sizeof *all);
    assert_memory_not_equal(all, all + CELLS, CELLS * sizeof *all);
}

/* Chi-square of 12000 draws against softmax(logits / temperature): 19 degrees of freedom, so mean 19, deviation 6.2. */
static void test_frequencies(ops_env *v)
{
    enum { ROWS = 2000, K = 20 };
    float *logits = ops_numbers(v, K), *repeated = ops_memory(v, ROWS * K, sizeof *repeated);
    double p[K], sum = 0, chi = 0;
    int counts[K] = {0};
    for (int i = 0; i < ROWS; i++)
        memcpy(repeated + i * K, logits, K * sizeof *logits);
    const sampling s = {.temperature = 1.25f, .seed = 12345};
    const int32_t *codes = sample_cells(v, repeated, ROWS, K, ROWS, NULL, &s, 0);
    for (int i = 0; i < ROWS * CELLS; i++) {
        assert_in_range(codes[i], 0, K - 1);
        counts[codes[i]]++;
    }
    for (int i = 0; i < K; i++)
        sum += p[i] = exp(logits[i] / 1.25);
    for (int i = 0; i < K; i++) {
        double expected = p[i] / sum * ROWS * CELLS;
        chi += (counts[i] - expected) * (counts[i] - expected) / expected;
    }
    if (!(chi < 19 + 5 * 6.2))
        fail_msg("chi-square %.1f with 19 degrees of freedom", chi);
}

/* A network that has gone wrong must not write codes that are no codes. */
static void test_nan(ops_env *v)
{
    enum { K = 40 };
    float *logits = ops_memory(v, 2 * K, sizeof *logits);
    for (int i = 0; i < 2 * K; i++)
        logits[i] = i < K ? NAN : -NAN;
    for (int t = 0; t < 2; t++) {
        const sampling s = {.temperature = (float)t, .top_k = 5, .top_p = 0.5f};
        const int32_t *codes = sample_cells(v, logits, 2, K, 2, NULL, &s, 0);
        for (int i = 0; i < 2 * CELLS; i++)
            assert_in_range(codes[i], 0, K - 1);
    }
}

const ops_behaviour ops_sampling[] = {
    {"sampling equals the reference for every setting", test_settings},
    {"sampling keeps codes that tie with the last one kept", test_ties},
    {"sampling writes forced codes, repeats rows and leaves other cells", test_forced},
    {"sampling depends on seed and stream, not on the batch", test_streams},
    {"sampling has settings and a cell for each row", test_rows},
    {"sampling with guidance and the next position in one step", test_step},
    {"sampling several codes at once, of which drafts are right", test_drafts},
    {"guidance has a scale for each row, or none", test_guide},
    {"sampling is as frequent as softmax says", test_frequencies},
    {"sampling of NaN stays among the codes", test_nan},
    {0},
};
