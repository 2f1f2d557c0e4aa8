/* The tables that tell where a model's parameters come from: names, sums, texts in texts, what a row changes, what is
 * left out, and what is missing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <string.h>

#include "checks.h"
#include "convert/convert_internal.h"
#include "convert/mapping.h"

static void check_name(const import_map *maps, const char *ours, const char *theirs)
{
    char name[IMPORT_NAME];
    import_their_name(maps, ours, name);
    assert_string_equal(name, theirs);
}

static void names_are_made(void **state)
{
    (void)state;
    static const import_row side[] = {
        {"block.{i}.qkv.*", {"layers.{i}.q.*", "layers.{i}.k.*"}},
        {"block.{i}.part.{j}.*", {"{branch}net.{2*j-2}.*"}},
        {"{i}.{j}.x", {"in.{1+count*i+j}.x"}},
        {"up.{i}.*", {"stages.{count-1-i}.*"}},
        {"*.weight", {"blocks.*.w"}},
        {"odd", {"{nothing}.odd.{count"}},
    };
    static const import_row rest[] = {{"*", {"rest.*"}}};
    static const import_map maps[] = {
        {"net.text.",
         "model.text.",
         IMPORT_ROWS(side),
         {{"branch", "layers.{i}.{wrapper}"}, {"wrapper", "fn.fn."}, {"count", .number = 4}}},
        {"net.image.", "", IMPORT_ROWS(side), {{"branch", "b{j}."}, {"count", .number = 2}}},
        {"net.", "model.", IMPORT_ROWS(rest)},
        {0}};
    check_name(maps, "net.text.block.12.qkv.bias", "model.text.layers.12.q.bias");
    check_name(maps, "net.image.block.0.qkv.", "layers.0.q.");
    check_name(maps, "net.text.block.3.part.5.bias", "model.text.layers.3.fn.fn.net.8.bias");
    check_name(maps, "net.image.block.3.part.1.bias", "b1.net.0.bias");
    check_name(maps, "net.text.2.1.x", "model.text.in.10.x");
    check_name(maps, "net.text.up.0.block.0", "model.text.stages.3.block.0");
    check_name(maps, "net.image.up.1.w", "stages.0.w");
    check_name(maps, "net.text.a.b.weight", "model.text.blocks.a.b.w");
    check_name(maps, "net.text.odd", "model.text.{nothing}.odd.{count"); /* none has this name */
    check_name(maps, "net.text.block.x.qkv", "model.rest.text.block.x.qkv");
    check_name(maps, "net.log_scale", "model.rest.log_scale");
    check_name(maps, "other.log_scale", "");
}

/* ---- tensors ---- */

static const float numbers[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

/* A tensor of F32 with the shape [a, b], or [a]. */
static source_tensor tensor_of(const char *name, int64_t a, int64_t b)
{
    source_tensor t = {.file = "file", .original = name, .own = {.name = name, .type = DTYPE_F32, .data = numbers}};
    t.own.nd = b ? 2 : 1;
    t.own.shape[0] = a;
    t.own.shape[1] = b;
    t.own.stride[0] = b ? b : 1;
    t.own.stride[1] = 1;
    t.own.bytes = (size_t)(a * (b ? b : 1)) * sizeof(float);
    return t;
}

typedef struct fake {
    source_tensor list[8];
    source from;
import im;
    param_table params;
    tensor to[8];
} fake;

static void open_fake(fake *f)
{
    for (size_t i = 0; i < COUNT(f->list) && f->list[i].file; i++) {
        f->list[i].t = &f->list[i].own;
        f->from.n++;
    }
    f->from.tensors = f->list;
    f->im.from = &f->from;
}

static void close_fake(fake *f)
{
    import_release(&f->im);
    params_release(&f->params);
}

static void rows_change_tensors(void **state)
{
    (void)state;
    static const import_row rows[] = {
        {"norm.*", {"ln.*"}, IMPORT_OR_ONES},
        {"table.weight", {"table"}, .first = "skip+1"},
        {"turned.weight", {"turned"}, IMPORT_TRANSPOSED},
        {"both.weight", {"a", "b"}},
        {NULL, {"mask.{i}.x"}},
        {NULL, {"loss.*"}, IMPORT_SAY},
    };
    static const import_map maps[] = {{"net.", "", IMPORT_ROWS(rows), {{"skip", .number = 1}}}, {0}};
    fake f = {.list = {tensor_of("ln.bias", 2, 0), tensor_of("table", 4, 2), tensor_of("turned", 2, 3),
                       tensor_of("a", 1, 2), tensor_of("b", 1, 2), tensor_of("mask.7.x", 1, 0),
                       tensor_of("loss.w", 1, 0), tensor_of("mask.y", 1, 0)}};
    open_fake(&f);
    param_vector(&f.params, &f.to[0], 2, "net.norm.weight");
    param_vector(&f.params, &f.to[1], 2, "net.norm.bias");
    param_matrix(&f.params, &f.to[2], 2, 2, PARAM_TABLE, "net.table.weight");
    param_matrix(&f.params, &f.to[3], 3, 2, PARAM_MATRIX, "net.turned.weight");
    param_matrix(&f.params, &f.to[4], 2, 2, PARAM_MATRIX, "net.both.weight");
    import_tensors(&f.im, maps, &f.params);
    assert_int_equal(f.im.error.code, 0);
    assert_int_equal(f.im.n_outputs, 5);
    assert_int_equal(f.im.n_parts, 6);
    const float want[][4] = {{1, 1}, {0, 1}, {4, 5, 6, 7}, {0, 3, 1, 4}}; /* their first four at most */
    for (size_t i = 0; i < COUNT(want); i++) {
        float values[4] = {0};
        file_tensor_read(&f.im.parts[i].from, 0, i < 2 ? 2 : 4, values);
        assert_memory_equal(values, want[i], sizeof values);
    }
    assert_true(f.list[5].used && !f.list[5].left_out);
    assert_true(f.list[6].used && f.list[6].left_out);
    assert_false(f.list[7].used);
    assert_int_equal(import_mapped_size(&f.im, maps, 1, "net.%s.weight", "turned"), 3);
    assert_true(import_mapped_has(&f.im, maps, "net.norm.bias"));
    assert_false(import_mapped_has(&f.im, maps, "net.norm.weight"));
    close_fake(&f);
}

static void expect_error(const char *name, int64_t rows, const char *part)
{
    static const import_row list[] = {
        {"here", {"table"}, .first = "2"}, {"away", {"away"}}, {"odd", {"table"}, .first = "size"}};
    static const import_map maps[] = {{"net.", "", IMPORT_ROWS(list)}, {0}};
    fake f = {.list = {tensor_of("table", 4, 2)}};
    open_fake(&f);
    param_matrix(&f.params, &f.to[0], rows, 2, PARAM_MATRIX, "net.%s", name);
    import_tensors(&f.im, maps, &f.params);
    if (!strstr(f.im.error.text, part))
        fail_msg("\"%s\" where \"%s\" was expected", f.im.error.text, part);
    close_fake(&f);
}

static void what_is_missing_is_named(void **state)
{
    (void)state;
    expect_error("here", 2, "");
    expect_error("here", 3, "tensor table: shape");
    expect_error("away", 2, "tensor away is missing");
    expect_error("odd", 2, "net.odd: the family doesn't tell what \"size\" is");
    expect_error("nowhere", 2, "net.nowhere: the family doesn't tell where this comes from");
}

static void blocks_are_counted(void **state)
{
    (void)state;
    static const import_row rows[] = {{"block.{i}.*", {"h.{i}.*"}}};
    static const import_map maps[] = {{"", "", IMPORT_ROWS(rows)}, {0}};
    fake f = {.list = {tensor_of("h.0.w", 1, 0), tensor_of("h.1.w", 1, 0), tensor_of("h.3.w", 1, 0)}};
    open_fake(&f);
    assert_int_equal(import_mapped_count(&f.im, maps, "block.{i}.w", 8), 2);
    assert_int_equal(import_mapped_count(&f.im, maps, "block.{i}.w", 0), 1);
    assert_int_equal(import_mapped_count(&f.im, maps, "block.{i}.x", 8), 0);
    close_fake(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_made),
        cmocka_unit_test(rows_change_tensors),
        cmocka_unit_test(what_is_missing_is_named),
        cmocka_unit_test(blocks_are_counted),
    };
    return cmocka_run_group_tests_name("mapping", tests, NULL, NULL) != 0;
}
