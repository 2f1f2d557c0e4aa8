/* Sums over rows and over parts, and over ranks. */
#include <stdlib.h>

#include "base/ranks.h"
#include "ops/ops_internal.h"

void sum_rows(run *r, tensor to, tensor from, int64_t n, int64_t stride, int64_t first, int add)
{
    if (!to.buf)
        return;
    int64_t d = tensor_count(&to);
    from.at += first;
    LAUNCH(r, "reduce:sum_rows", work_columns(r, d, 1, (double)(n * d), 4.0 * (double)(n * d)), ARG_T(from), ARG_T(to),
           ARG_I(d), ARG_I(n), ARG_I(stride), ARG_I(add));
}

int64_t row_parts(run *r, int64_t n, int64_t least, int64_t tiles, int64_t *part)
{
    int64_t wanted = (4 * (int64_t)run_device(r)->info.compute_units + tiles - 1) / tiles;
    int64_t parts = wanted < n / least ? wanted : n / least;
    *part = parts > 1 ? (n + parts - 1) / parts : n;
    return (n + *part - 1) / *part;
}

void sum_parts(run *r, tensor parts, int64_t n, tensor y, int add)
{
    int64_t count = tensor_count(&y);
    const size_t items = run_device(r)->tune.cpu_form ? (size_t)(count + 15) / 16 : round_up((size_t)count, 64);
    LAUNCH(r, "reduce:sum_parts", ((work){.global = {items}, .bytes = 4.0 * (double)(count * n)}), ARG_T(parts),
           ARG_T(y), ARG_I(count), ARG_I(n), ARG_I(add));
}

void column_sums(run *r, tensor x, tensor y, int add)
{
    int64_t rows = rows_of(&x), n = last_of(&x), share;
    bool cpu = run_device(r)->tune.cpu_form;
    size_t items = cpu ? (size_t)(n + 31) / 32 : round_up((size_t)n, 64);
    int64_t parts = row_parts(r, rows, 64, (int64_t)(cpu ? items : items / 64), &share);
    tensor to = parts > 1 ? TENSOR(r, DTYPE_F32, parts, n) : y;
    LAUNCH(r, "reduce:column_sums", ((work){.global = {items, (size_t)parts}, .bytes = 4.0 * (double)(rows * n)}),
           ARG_T(x), ARG_T(to), ARG_I(rows), ARG_I(n), ARG_I(share), ARG_I(n), ARG_I(parts > 1 ? 0 : add));
    if (parts > 1)
        sum_parts(r, to, parts, y, add);
    if (parts > 1)
        run_give_back(r, to);
}

void op_sum_ranks(run *r, tensor x)
{
    if (ranks_size() == 1 || run_failed(r))
        return;
    size_t n = (size_t)tensor_count(&x);
    float *host = malloc(n * sizeof *host);
    if (!host)
        err_no_memory(run_error(r), "sums of all processes", n * sizeof *host);
    run_read(r, x, host);
    if (!run_failed(r))
        ranks_sum(host, n);
    run_write(r, x, host);
    free(host);
}
