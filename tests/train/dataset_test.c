/* Tests of the data set: order, resuming, ranks, crops, damage, threads. */
#include "dataset_support.h"

#include <sched.h>

/* ---- order --------------------------------------------------------------------------------------------------- */

static void every_epoch_has_each_item_once(void **state)
{
    (void)state;
    enum { ITEMS = 11, EPOCHS = 6 };
    const char *set = make_set(ITEMS);
    dataset_options o = options_of(&set);
    int64_t order[EPOCHS * ITEMS], again[EPOCHS * ITEMS];
    for (int batch = 1; batch <= 25; batch += 4) { /* also larger than two epochs */
        o.batch = batch;
        dataset *d = open_set(&o);
        dataset_batch b = {0};
        int n = 0;
        while (n < EPOCHS * ITEMS) {
            next(d, &b);
            for (int i = 0; i < b.n; i++) {
                assert_belongs(&b, i);
                if (n < EPOCHS * ITEMS)
                    again[n++] = b.items[i];
            }
        }
        if (batch == 1)
            memcpy(order, again, sizeof order);
        assert_memory_equal(order, again, sizeof order);
        assert_int_equal(problems(d), 0);
        dataset_batch_release(&b);
        dataset_free(d);
    }
    for (int epoch = 0; epoch < EPOCHS; epoch++) {
        int count[ITEMS] = {0};
        for (int i = 0; i < ITEMS; i++)
            count[order[epoch * ITEMS + i]]++;
        for (int i = 0; i < ITEMS; i++)
            assert_int_equal(count[i], 1);
        for (int other = 0; other < epoch; other++)
            assert_memory_not_equal(order + epoch * ITEMS, order + other * ITEMS, ITEMS * sizeof *order);
    }
}

/* Each item at each place, each pair at each two places, and each caption, equally often. */
static void shuffles_are_fair(void **state)
{
    (void)state;
    enum { ITEMS = 6, EPOCHS = 6000 };
    const char *set = make_set(ITEMS);
    dataset_options o = options_of(&set);
    o.want = DATASET_CAPTIONS;
    o.batch = ITEMS;
    dataset *d = open_set(&o);
    dataset_batch b = {0};
    static int count[ITEMS][ITEMS][ITEMS][ITEMS]; /* place, item, place, item */
    int drawn[3] = {0};
    memset(count, 0, sizeof count);
    for (int epoch = 0; epoch < EPOCHS; epoch++) {
        next(d, &b);
        assert_null(b.pixels);
        for (int i = 0; i < ITEMS; i++) {
            for (int k = 0; k < ITEMS; k++)
                count[i][b.items[i]][k][b.items[k]]++;
            drawn[b.captions[i][2] - 'a']++;
        }
    }
    /* six standard deviations */
    for (int i = 0; i < ITEMS; i++)
        for (int k = 0; k < ITEMS; k++) {
            assert_in_range(count[i][k][i][k], EPOCHS / 6 - 173, EPOCHS / 6 + 173);
            for (int j = 0; j < ITEMS; j++)
                for (int m = 0; m < ITEMS; m++)
                    if (j != i && m != k)
                        assert_in_range(count[i][k][j][m], EPOCHS / 30 - 84, EPOCHS / 30 + 84);
        }
    for (int i = 0; i < 3; i++)
        assert_in_range(drawn[i], EPOCHS * ITEMS / 3 - 537, EPOCHS * ITEMS / 3 + 537);
    dataset_batch_release(&b);
    dataset_free(d);
}

static void seed_decides_order_and_captions(void **state)
{
    (void)state;
    const char *set = make_set(9);
    dataset_options o = options_of(&set);
    uint64_t results[3];
    for (int run = 0; run < 3; run++) {
        o.seed = run == 2 ? (uint64_t)1 << 40 : 0;
        dataset *d = open_set(&o);
        dataset_batch b = {0};
        results[run] = 0;
        for (int k = 0; k < 5; k++) {
            next(d, &b);
            results[run] = digest(results[run], &b);
        }
        dataset_batch_release(&b);
        dataset_free(d);
    }
    assert_int_equal(results[0], results[1]);
    assert_int_not_equal(results[0], results[2]);
}

/* A set with everything that random numbers decide, and with damage. */
static dataset_options make_rich_set(const char **set)
{
    *set = make_set(23);
    write_text("set/03.png", "damaged");
    write_text("set/04.png", "damaged");
    write_text("set/11.txt", "\n\n");
    write_text("set/17.txt", "17 a\n\xC3\x28\n17 b");
    *set = path("set"); /* the paths above have used up the first one's place */
    dataset_options o = options_of(set);
    o.crop = 0.5;
    o.flip = true;
    return o;
}

static void threads_do_not_change_the_batches(void **state)
{
    (void)state;
    const char *set;
    dataset_options o = make_rich_set(&set);
    uint64_t first = 0;
    for (int threads = 1; threads <= 9; threads += 2)
        for (int prefetch = 1; prefetch <= 4; prefetch += 3) {
            o.threads = threads;
            o.prefetch = prefetch;
            dataset *d = open_set(&o);
            dataset_batch b = {0};
            uint64_t h = 0;
            for (int k = 0; k < 30; k++) {
                next(d, &b);
                h = digest(h, &b);
            }
            if (!first)
                first = h;
            assert_int_equal(h, first);
            assert_int_equal(problems(d), 4);
            assert_problem(d, "/set/03.png", "neither PNG nor JPEG");
            assert_problem(d, "/set/11.png", "its caption is empty");
            assert_problem(d, "/set/17.png", "caption 2 is not UTF-8");
            dataset_batch_release(&b);
            dataset_free(d);
        }
}

static void seek_resumes_at_any_batch(void **state)
{
    (void)state;
    enum { BATCHES = 20 };
    const char *set;
    dataset_options o = make_rich_set(&set);
    dataset_position at[BATCHES + 1];
    uint64_t expected[BATCHES];
    dataset *d = open_set(&o);
    dataset_batch b = {0};
    for (int k = 0; k < BATCHES; k++) {
        at[k] = dataset_tell(d);
        assert_int_equal(at[k].epoch * 23 + at[k].item, 4 * k);
        next(d, &b);
        expected[k] = digest(0, &b);
    }
    for (int k = BATCHES - 1; k >= 0; k--) {
        assert_true(dataset_seek(d, at[k], NULL));
        for (int i = k; i < BATCHES && i < k + 3; i++) {
            next(d, &b);
            assert_int_equal(digest(0, &b), expected[i]);
        }
        dataset *fresh = open_set(&o); /* another process: nothing is known of the bad items */
        assert_true(dataset_seek(fresh, at[k], NULL));
        dataset_position p = dataset_tell(fresh);
        assert_int_equal(p.epoch, at[k].epoch);
        assert_int_equal(p.item, at[k].item);
        next(fresh, &b);
        assert_int_equal(digest(0, &b), expected[k]);
        dataset_free(fresh);
    }
    const dataset_position wrong[] = {{-1, 0}, {0, -1}, {0, 23}, {(int64_t)1 << 32, 0}};
    for (size_t i = 0; i < COUNT(wrong); i++) {
        err e = {0};
        assert_false(dataset_seek(d, wrong[i], &e));
        assert_message(&e, "is not in the data of 23 items");
    }
    dataset_batch_release(&b);
    dataset_free(d);
}

static void ranks_share_the_global_batch(void **state)
{
    (void)state;
    enum { RANKS = 3, EACH = 4 };
    const char *set;
    dataset_options o = make_rich_set(&set);
    dataset_options whole = o;
    whole.batch = RANKS * EACH;
    dataset *all = open_set(&whole), *part[RANKS];
    dataset_batch b = {0}, p[RANKS] = {{0}};
    for (int rank = 0; rank < RANKS; rank++) {
        o.rank = rank;
        o.ranks = RANKS;
        o.batch = EACH;
        part[rank] = open_set(&o);
    }
    for (int k = 0; k < 9; k++) {
        next(all, &b);
        for (int rank = 0; rank < RANKS; rank++) {
            next(part[rank], &p[rank]);
            assert_int_equal(dataset_tell(part[rank]).item, dataset_tell(all).item);
            for (int i = 0; i < EACH; i++) {
                int global = i * RANKS + rank;
                assert_int_equal(p[rank].items[i], b.items[global]);
                assert_string_equal(p[rank].captions[i], b.captions[global]);
                assert_memory_equal(p[rank].pixels + i * 8 * 8 * 3, b.pixels + global * 8 * 8 * 3, 8 * 8 * 3);
            }
        }
    }
    for (int rank = 0; rank < RANKS; rank++) {
        dataset_batch_release(&p[rank]);
        dataset_free(part[rank]);
    }
    dataset_batch_release(&b);
    dataset_free(all);
}

static void captions_alone_are_those_of_the_pairs(void **state)
{
    (void)state;
    const char *set = make_set(13);
    dataset_options o = options_of(&set);
    dataset *pairs = open_set(&o);
    o.want = DATASET_CAPTIONS;
    o.width = o.height = 0;
    dataset *captions = open_set(&o);
    assert_int_equal(dataset_fingerprint(pairs), dataset_fingerprint(captions));
    dataset_batch b = {0}, c = {0};
    for (int k = 0; k < 10; k++) {
        next(pairs, &b);
        next(captions, &c);
        for (int i = 0; i < b.n; i++) {
            assert_int_equal(b.items[i], c.items[i]);
            assert_string_equal(b.captions[i], c.captions[i]);
        }
    }
    next(captions, &b); /* a batch may change hands: it gets the size that it needs */
    assert_null(b.pixels);
    next(pairs, &c);
    assert_non_null(c.pixels);
    dataset_batch_release(&b);
    dataset_batch_release(&c);
    dataset_free(pairs);
    dataset_free(captions);
}

/* ---- crops ----------------------------------------------------------------------------------- */

/* pixels[y][x] = (8 x, 8 y, 0): a crop tells where it was taken. */
static void write_ramp(const char *name, int width, int height)
{
    image im;
    assert_true(image_new(&im, width, height, NULL));
    for (int i = 0; i < width * height; i++) {
        im.pixels[i * 3] = (uint8_t)(i % width * 8);
        im.pixels[i * 3 + 1] = (uint8_t)(i / width * 8);
    }
    assert_true(image_write_png(&im, path(name), NULL, 0, NULL));
    image_release(&im);
}

static void crop_and_flip_are_drawn_for_item_and_epoch(void **state)
{
    (void)state;
    make_folder("set");
    write_ramp("set/0.png", 32, 16);
    const char *set = path("set");
    dataset_options o = options_of(&set);
    o.want = DATASET_PICTURES;
    o.width = o.height = 16;
    o.batch = 64;
    dataset *d = open_set(&o);
    dataset_batch b = {0};
    enum { LINE = 16 * 3, PICTURE = 16 * LINE };
    next(d, &b); /* the centre, the same in every epoch */
    for (int i = 0; i < 64; i++) {
        assert_int_equal(b.pixels[i * PICTURE], 8 * 8);
        assert_int_equal(b.pixels[i * PICTURE + LINE - 3], 23 * 8);
    }
    dataset_free(d);

    o.crop = 1; /* whole height, any place, mirrored or not */
    o.flip = true;
    d = open_set(&o);
    next(d, &b);
    int places[17] = {0}, mirrored = 0;
    for (int i = 0; i < 64; i++) {
        int left = b.pixels[i * PICTURE] / 8, right = b.pixels[i * PICTURE + LINE - 3] / 8;
        assert_int_equal(abs(right - left), 15);
        mirrored += right < left;
        places[left < right ? left : right]++;
        assert_int_equal(b.pixels[i * PICTURE + 1], 0);
        assert_int_equal(b.pixels[i * PICTURE + 15 * LINE + 1], 15 * 8);
    }
    int distinct = 0;
    for (int i = 0; i < 17; i++)
        distinct += places[i] > 0;
    assert_true(distinct > 12);
    assert_in_range(mirrored, 12, 52);
    dataset_free(d);

    o.crop = 0.25; /* down to 4 x 4 of the pixels, not mirrored */
    o.flip = false;
    d = open_set(&o);
    next(d, &b);
    int small = 0;
    for (int i = 0; i < 64; i++) {
        int width = b.pixels[i * PICTURE + LINE - 3] - b.pixels[i * PICTURE];
        int height = b.pixels[i * PICTURE + 15 * LINE + 1] - b.pixels[i * PICTURE + 1];
        assert_in_range(width, 2 * 8, 15 * 8);
        assert_in_range(abs(width - height), 0, 12);
        small += width < 60;
    }
    assert_in_range(small, 10, 54);
    dataset_batch_release(&b);
    dataset_free(d);
}

/* ---- damage -------------------------------------------------------------------------------------------------- */

static void bad_items_give_their_place_to_good_ones(void **state)
{
    (void)state;
    const char *set = make_set(10);
    for (int i = 0; i < 10; i++)
        if (i != 3 && i != 8) {
            char name[32];
            snprintf(name, sizeof name, "set/%02d.png", i);
            write_text(name, "damaged");
        }
    set = path("set");
    dataset_options o = options_of(&set);
    o.batch = 10;
    dataset *d = open_set(&o);
    dataset_batch b = {0};
    int count[2] = {0};
    for (int epoch = 0; epoch < 100; epoch++) {
        next(d, &b);
        for (int i = 0; i < 10; i++) {
            assert_true(b.items[i] == 3 || b.items[i] == 8);
            assert_belongs(&b, i);
            count[b.items[i] == 8]++;
        }
    }
    assert_in_range(count[0], 400, 600); /* neither is preferred */
    assert_int_equal(problems(d), 8);
    dataset_batch_release(&b);
    dataset_free(d);
}

static void excluded_items_are_as_bad_ones(void **state)
{
    (void)state;
    const char *set = make_set(12);
    dataset_options o = options_of(&set);
    dataset *excluding = open_set(&o);
    dataset_exclude(excluding, 5);
    dataset_exclude(excluding, 6);
    write_text("set/05.png", "damaged");
    write_text("set/06.png", "damaged");
    dataset *damaged = open_set(&o);
    dataset_batch b = {0}, c = {0};
    for (int k = 0; k < 12; k++) {
        next(excluding, &b);
        next(damaged, &c);
        assert_int_equal(digest(0, &b), digest(0, &c));
    }
    assert_int_equal(problems(excluding), 0);
    assert_int_equal(problems(damaged), 2);
    dataset_batch_release(&b);
    dataset_batch_release(&c);
    dataset_free(excluding);
    dataset_free(damaged);
}

static void set_of_bad_items_ends_in_an_error(void **state)
{
    (void)state;
    const char *set = make_set(150);
    for (int i = 0; i < 150; i++) {
        char name[32];
        snprintf(name, sizeof name, i < 100 ? "set/%02d.png" : "set/%d.png", i);
        write_text(name, "damaged");
    }
    set = path("set");
    dataset_options o = options_of(&set);
    o.threads = 3;
    dataset *d = open_set(&o);
    dataset_batch b = {0};
    for (int k = 0; k < 3; k++) {
        err e = {0};
        assert_false(dataset_next(d, &b, &e));
        assert_message(&e, "data: none of the 150 items is usable");
        assert_null(b.items);
        if (k == 1)
            assert_true(dataset_seek(d, (dataset_position){4, 4}, NULL));
    }
    const dataset_problem *list;
    size_t n;
    assert_int_equal(dataset_problems(d, &list, &n), 150);
    assert_int_equal(n, 100);
    dataset_free(d);
}

static void empty_sets_name_their_sources(void **state)
{
    (void)state;
    make_folder("a");
    make_folder("b");
    write_text("b/x.jsonl", "{\"image\": 3, \"caption\": \"c\"}\n");
    const char *sources[] = {path("a"), path("b/x.jsonl")};
    dataset_options o = options_of(sources);
    err e = {0};
    assert_null(dataset_open(&o, &e));
    assert_message(&e, "data: no picture with a caption in /tmp/limn-test-");
    o.n_sources = 2;
    e = (err){0};
    assert_null(dataset_open(&o, &e));
    assert_message(&e, "/a, /tmp/limn-test-");
    assert_message(&e, "/b/x.jsonl: 1 problem, the first: ");
    assert_message(&e, "x.jsonl:1: no \"image\"");
    sources[0] = path("gone");
    e = (err){0};
    assert_null(dataset_open(&o, &e));
    assert_message(&e, "/gone: cannot open: No such file");
    make_set(1);
    sources[0] = path("set");
    dataset *d = open_set(&o); /* one good source is enough, and the other's problem is kept */
    assert_int_equal(dataset_size(d), 1);
    assert_int_equal(problems(d), 1);
    dataset_free(d);
}

static void senseless_options_are_usage_errors(void **state)
{
    (void)state;
    const char *set = make_set(1);
    dataset_options good = options_of(&set), o[12];
    for (size_t i = 0; i < COUNT(o); i++)
        o[i] = good;
    o[0].batch = 0;
    o[1].width = 0;
    o[2].height = 16385;
    o[3].crop = 1.5;
    o[4].crop = -0.1;
    o[5].rank = 1;
    o[6].rank = 2;
    o[6].ranks = 2;
    o[7].ranks = -1;
    o[8].threads = -1;
    o[9].prefetch = -1;
    o[10].n_sources = 0;
    o[11].crop = 0.0 / (double)(set == NULL);
    for (size_t i = 0; i < COUNT(o); i++) {
        err e = {0};
        assert_null(dataset_open(&o[i], &e));
        assert_int_equal(e.code, ERR_USAGE);
        assert_message(&e, "data: ");
    }
    assert_null(dataset_open(&o[0], NULL));
    dataset_free(NULL);
}

static void fingerprint_tells_other_data(void **state)
{
    (void)state;
    const char *set = make_set(3);
    dataset_options o = options_of(&set);
    dataset *d = open_set(&o);
    uint64_t before = dataset_fingerprint(d);
    dataset_free(d);
    o.batch = 9;
    o.seed = 1;
    d = open_set(&o);
    assert_int_equal(dataset_fingerprint(d), before);
    dataset_free(d);
    write_picture("set/new.png", 9);
    write_text("set/new.txt", "new");
    d = open_set(&o);
    assert_int_not_equal(dataset_fingerprint(d), before);
    dataset_free(d);
}

/* ---- threads ------------------------------------------------------------------------------------------------- */

static void ends_cleanly_at_any_time(void **state)
{
    (void)state;
    const char *set;
    dataset_options o = make_rich_set(&set);
    o.prefetch = 3;
    dataset_batch b = {0};
    for (int run = 0; run < 60; run++) {
        o.threads = 1 + run % 5;
        dataset *d = open_set(&o);
        for (int k = 0; k < run % 4; k++)
            next(d, &b);
        if (run % 3 == 1)
            assert_true(dataset_seek(d, (dataset_position){run, run % 23}, NULL));
        if (run % 3 == 2) {
            seen s = {{0}, 0, 0};
            assert_true(dataset_captions(d, see, &s)); /* beside the threads */
            problems(d);
        }
        for (int k = 0; k < run * 7 % 11; k++)
            sched_yield();
        dataset_free(d);
    }
    dataset_batch_release(&b);
}

/* Where pictures are always cut alike they are read once; it shows in nothing but that. */
static void pictures_are_read_once_without_crops(void **state)
{
    (void)state;
    const char *set;
    dataset_options o = make_rich_set(&set);
    for (int crop = 0; crop < 2; crop++) {
        o.crop = crop ? 0.5 : 0;
        dataset *d = open_set(&o);
        dataset_batch b = {0};
        for (int k = 0; k < 30; k++) /* five epochs, mirrored by chance */
            next(d, &b);
        int64_t item = b.items[0];
        char name[32];
        snprintf(name, sizeof name, "set/%02d.png", (int)item);
        write_picture(name, 200);
        bool changed = false;
        for (int k = 0; k < 60; k++) {
            next(d, &b);
            for (int i = 0; i < 4; i++)
                changed |= b.items[i] == item && b.pixels[i * 8 * 8 * 3] == 200;
        }
        assert_int_equal(changed, crop);
        write_picture(name, (int)item);
        dataset_batch_release(&b);
        dataset_free(d);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        DATASET_TEST(every_epoch_has_each_item_once),
        DATASET_TEST(shuffles_are_fair),
        DATASET_TEST(seed_decides_order_and_captions),
        DATASET_TEST(threads_do_not_change_the_batches),
        DATASET_TEST(seek_resumes_at_any_batch),
        DATASET_TEST(ranks_share_the_global_batch),
        DATASET_TEST(captions_alone_are_those_of_the_pairs),
        DATASET_TEST(crop_and_flip_are_drawn_for_item_and_epoch),
        DATASET_TEST(bad_items_give_their_place_to_good_ones),
        DATASET_TEST(excluded_items_are_as_bad_ones),
        DATASET_TEST(set_of_bad_items_ends_in_an_error),
        DATASET_TEST(empty_sets_name_their_sources),
        DATASET_TEST(senseless_options_are_usage_errors),
        DATASET_TEST(fingerprint_tells_other_data),
        DATASET_TEST(pictures_are_read_once_without_crops),
        DATASET_TEST(ends_cleanly_at_any_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
