/* Tar files for the tests of data sets. */
#ifndef TESTS_DATASET_TAR_SUPPORT_H
#define TESTS_DATASET_TAR_SUPPORT_H
#include "dataset_support.h"

#include <archive.h>
#include <archive_entry.h>

#include "base/file.h"

static inline void tar_add(struct archive *a, const char *name, const void *data, size_t bytes)
{
    struct archive_entry *entry = archive_entry_new();
    archive_entry_set_pathname(entry, name);
    archive_entry_set_filetype(entry, AE_IFREG);
    archive_entry_set_perm(entry, 0644);
    archive_entry_set_size(entry, (la_int64_t)bytes);
    assert_int_equal(archive_write_header(a, entry), ARCHIVE_OK);
    assert_int_equal(archive_write_data(a, data, bytes), bytes);
    archive_entry_free(entry);
}

static inline void tar_add_picture(struct archive *a, const char *name, int value)
{
    file_map m;
    write_picture("member.png", value);
    assert_true(file_map_open(&m, path("member.png"), NULL));
    tar_add(a, name, m.data, m.size);
    file_map_release(&m);
    assert_int_equal(unlink(path("member.png")), 0);
}
#endif
