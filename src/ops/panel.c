/* Panels: weights of products of many rows, and of convolutions, as their kernels read them. */
#include "ops/ops_internal.h"

void linear_unpack(run *r, tensor w, tensor y, int64_t first, int64_t count, int64_t lanes, int64_t panel)
{
    int64_t n = w.shape[0], k = w.shape[1];
    size_t words = (size_t)(k / 32 * (dtype_table[w.type].bytes - 2) / 4),
           rows = round_up((size_t)count, (size_t)lanes);
    work size = {.global = {lanes > 1 ? rows : words, lanes > 1 ? words : rows},
                 .bytes = (double)dtype_row_bytes(w.type, count * k) + 4.0 * (double)(count * k)};
    LAUNCH(r, TYPED("linear:floats_", w.type), size, ARG_T(w), ARG_T(y), ARG_I(n), ARG_I(k), ARG_I(first), ARG_I(count),
           ARG_I(lanes), ARG_I(panel));
}

/* ---- packing ---- */

dtype panel_type(run *r, tensor w)
{
    return w.type == DTYPE_F16 && !run_device(r)->tune.cpu_form ? DTYPE_F16 : DTYPE_F32;
}

/* n_panels panels of whole rows of w from `first` of `to` on. */
static void pack_piece(run *r, tensor from, tensor to, int64_t n, int64_t k, int64_t first)
{
    const bool cpu = run_device(r)->tune.cpu_form, same = from.type == to.type && from.type != DTYPE_F32;
    size_t blocks = (size_t)(k + 15) / 16, n_panels = (size_t)(n + 31) / 32;
    work size = {.global = {blocks, n_panels}, .local = {1, 1, 1}};
    const char *name = TYPED("gemm:pack_", from.type);
    if (same && (cpu || from.type != DTYPE_F16)) {
        name = "panel:pack_panels";
        size.global[0] = cpu ? (size_t)(k + 31) / 32 : (size_t)k;
        size.local[0] = size.local[1] = size.local[2] = cpu ? 1 : 0;
    } else if (!cpu) {
        size = (work){.global = {blocks * n_panels}, .unit = UNIT_ROW};
    }
    size.bytes = (double)(dtype_row_bytes(from.type, n * k) + dtype_row_bytes(to.type, n * k));
    size.options = PANEL_OPTIONS(to);
    LAUNCH(r, name, size, ARG_T(from), ARG_T(to), ARG_I(n), ARG_I(k), ARG_I(first));
}

void panels_pack(run *r, tensor panels, tensor w)
{
    int64_t n = w.shape[0], k = w.shape[1], next;
    for (int64_t row = 0; row < n && !run_failed(r); row = next) {
        int64_t from_row, to_panel;
        tensor from = tensor_piece(w, row, &from_row), to = tensor_piece(panels, row / 32, &to_panel);
        int64_t from_end = from_row + from.shape[0], to_end = 32 * (to_panel + to.shape[0]);
        next = from_end < to_end ? from_end : to_end;
        next = next < n ? next : n;
        if (w.panels) { /* a GPU's, of a linear layer */
            linear_unpack(r, from, to, row - from_row, next - row, 32, row / 32 - to_panel);
            continue;
        }
        from.at += (row - from_row) * k;
        pack_piece(r, from, to, next - row, k, row / 32 - to_panel);
    }
}

/* The type of the panels of a convolution's w[out,kernel,kernel,in].  Where weights are few, floats are read faster,
 * and 1x1 ones are read as they are by products. */
static dtype conv_panel_type(run *r, tensor w)
{
    const bool many = w.nd == 4 && w.shape[1] > 1 && tensor_count(&w) >= run_device(r)->tune.narrow_panels;
    return many && (w.type == DTYPE_F16 || w.type == DTYPE_Q8_0) ? w.type : panel_type(r, w);
}

bool conv_pack(run *r, tensor *panels, tensor w, const char *what, err *e)
{
    int64_t k = tensor_count(&w) / w.shape[0], n = (w.shape[0] + 31) / 32;
    *panels = (tensor){0};
    if (run_failed(r) ||
        !tensor_new(panels, run_device(r), conv_panel_type(r, w), 3, (int64_t[]){n, k, 32}, NULL, false, what, e))
        return false;
    panels_pack(r, *panels, tensor_shaped(w, 2, (int64_t[]){w.shape[0], k}));
    return !run_failed(r);
}

void conv_repack(run *r, const conv *c)
{
    panels_pack(r, c->panels, tensor_shaped(c->w, 2, (int64_t[]){c->out, tensor_count(&c->w) / c->out}));
}

/* ---- reading ---- */

bool panels_packed(run *r, tensor panels)
{
    return panels.type == DTYPE_Q8_0 || (panels.type == DTYPE_F16 && run_device(r)->tune.cpu_form);
}

tensor panels_unpacked(run *r, tensor panels)
{
    if (run_failed(r) || !panels_packed(r, panels))
        return panels;
    tensor y = run_tensor(r, DTYPE_F32, panels.nd, panels.shape);
    const int64_t count = tensor_count(&panels);
    work size = {.global = {(size_t)(count + PANEL_UNPACK - 1) / PANEL_UNPACK}, .local = {1}};
    if (!run_device(r)->tune.cpu_form)
        size = (work){.global = {(size_t)(count + 3) / 4}};
    size.bytes = (double)dtype_row_bytes(panels.type, count) + 4.0 * (double)count;
    size.options = PANEL_OPTIONS(panels);
    LAUNCH(r, "panel:unpack_panels", size, ARG_T(panels), ARG_T(y), ARG_I(count));
    return y;
}

tensor conv_transpose_panels(run *r, const conv *c)
{
    int64_t taps = c->kernel * c->kernel, panels = (c->in + 31) / 32;
    tensor y = TENSOR(r, DTYPE_F32, panels, taps * c->out, 32), from = panels_unpacked(r, c->panels);
    work size = {.global = {(size_t)c->out, (size_t)taps, (size_t)panels}};
    if (!run_device(r)->tune.cpu_form)
        size = (work){.global = {(size_t)((c->out + 31) / 32 * taps * panels)}, .unit = UNIT_ROW};
    size.bytes = 8.0 * (double)tensor_count(&y);
    size.options = from.type == DTYPE_F16 ? "-DBACKWARD -DPANEL_F16" : "-DBACKWARD";
    LAUNCH(r, "gemm:transpose_panels", size, ARG_T(from), ARG_T(y), ARG_I(taps), ARG_I(c->in), ARG_I(c->out));
    if (from.buf != c->panels.buf)
        run_give_back(r, from);
    return y;
}
