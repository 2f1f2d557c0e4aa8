/* TensorBoard's event files. */
#include "train/events.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "base/os.h"

struct events {
    FILE *f;
};

/* ---- messages: fields appended to a buffer ---- */

/* Zero-initialised is empty; `failed` where there was no memory. */
typedef struct message {
    uint8_t *data;
    size_t n, capacity;
    bool failed;
} message;

static void put(message *m, const void *data, size_t n)
{
    if (m->n + n > m->capacity && !m->failed) {
        size_t capacity = 2 * (m->n + n) + 256;
        uint8_t *grown = realloc(m->data, capacity);
        m->failed = !grown;
        m->data = grown ? grown : m->data;
        m->capacity = grown ? capacity : m->capacity;
    }
    if (m->failed || n == 0)
        return;
    memcpy(m->data + m->n, data, n);
    m->n += n;
}

/* The lowest n bytes of v, the least first. */
static void put_bytes(message *m, uint64_t v, int n)
{
    uint8_t out[8];
    for (int i = 0; i < n; i++)
        out[i] = (uint8_t)(v >> 8 * i);
    put(m, out, (size_t)n);
}

static void put_varint(message *m, uint64_t v)
{
    for (; v >= 128; v >>= 7)
        put_bytes(m, v | 128, 1);
    put_bytes(m, v, 1);
}

enum { WIRE_VARINT, WIRE_64, WIRE_BYTES, WIRE_32 = 5 };

static void put_key(message *m, int field, int wire)
{
    put_varint(m, (uint64_t)field << 3 | (uint64_t)wire);
}

static void put_int(message *m, int field, int64_t v)
{
    put_key(m, field, WIRE_VARINT);
    put_varint(m, (uint64_t)v);
}

static void put_double(message *m, int field, double v)
{
    uint64_t bits;
    memcpy(&bits, &v, sizeof bits);
    put_key(m, field, WIRE_64);
    put_bytes(m, bits, 8);
}

static void put_float(message *m, int field, float v)
{
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    put_key(m, field, WIRE_32);
    put_bytes(m, bits, 4);
}

static void put_data(message *m, int field, const void *data, size_t n)
{
    put_key(m, field, WIRE_BYTES);
    put_varint(m, n);
    put(m, data, n);
}

/* A message as a field of another; it is empty afterwards. */
static void put_message(message *m, int field, message *inner)
{
    put_data(m, field, inner->data, inner->n);
    m->failed = m->failed || inner->failed;
    free(inner->data);
    *inner = (message){0};
}

/* ---- records ---- */

uint32_t events_checksum(const void *data, size_t bytes)
{
    uint32_t crc = ~0u, table[256];
    for (uint32_t i = 0; i < 256; i++) {
        table[i] = i;
        for (int k = 0; k < 8; k++)
            table[i] = table[i] >> 1 ^ (table[i] & 1 ? 0x82F63B78u : 0);
    }
    for (size_t i = 0; i < bytes; i++)
        crc = crc >> 8 ^ table[(crc ^ ((const uint8_t *)data)[i]) & 255];
    crc = ~crc;
    return (crc >> 15 | crc << 17) + 0xA282EAD8u;
}

/* length u64, its checksum, data, its checksum */
static void write_record(events *v, message *m)
{
    message length = {0}, sum = {0};
    put_bytes(&length, m->n, 8);
    if (!length.failed)
        put_bytes(&length, events_checksum(length.data, 8), 4);
    put_bytes(&sum, events_checksum(m->data, m->n), 4);
    if (!m->failed && !length.failed && !sum.failed) {
        (void)fwrite(length.data, 1, length.n, v->f); /* events_flush and events_close tell of failures */
        (void)fwrite(m->data, 1, m->n, v->f);
        (void)fwrite(sum.data, 1, sum.n, v->f);
    }
    free(length.data);
    free(sum.data);
    free(m->data);
    *m = (message){0};
}

/* An Event's wall_time (1) and step (2). */
static message event_of(int64_t step)
{
    message m = {0};
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    put_double(&m, 1, (double)t.tv_sec + 1e-9 * (double)t.tv_nsec);
    put_int(&m, 2, step);
    return m;
}

/* Readers take a directory's files in the order of their names, so these grow with time. */
static FILE *new_file(const char *directory, err *e)
{
    size_t size = strlen(directory) + 64;
    char *path = malloc(size);
    int fd = -1;
    if (!path) {
        err_no_memory(e, directory, size);
        return NULL;
    }
    for (int64_t t = time(NULL); fd < 0; t++) {
        snprintf(path, size, "%s/events.out.tfevents.%010lld.limn", directory, (long long)t);
        fd = os_open(path, OS_NEW);
        if (fd < 0 && errno != EEXIST)
            break;
    }
    FILE *f = fd >= 0 ? fdopen(fd, "wb") : NULL;
    if (!f) {
        err_set(e, ERR_FAILED, "%s: cannot write: %s", path, strerror(errno));
        if (fd >= 0)
            close(fd);
    }
    free(path);
    return f;
}

events *events_open(const char *directory, int64_t first, err *e)
{
    static const char version[] = "brain.Event:2";
    if (!file_make_directory(directory, e))
        return NULL;
    events *v = calloc(1, sizeof *v);
    if (!v) {
        err_no_memory(e, directory, sizeof *v);
        return NULL;
    }
    v->f = new_file(directory, e);
    if (!v->f) {
        free(v);
        return NULL;
    }
    message m = event_of(0), start = {0};
    put_data(&m, 3, version, sizeof version - 1); /* file_version */
    write_record(v, &m);
    m = event_of(first);
    put_int(&start, 1, 1); /* SessionLog's status: START */
    put_message(&m, 7, &start);
    write_record(v, &m);
    return v;
}

bool events_close(events *v)
{
    if (!v)
        return true;
    bool ok = !ferror(v->f);
    ok = fclose(v->f) == 0 && ok;
    free(v);
    return ok;
}

void events_scalars(events *v, int64_t step, const char *const *tags, const float *values, int n)
{
    message m = event_of(step), summary = {0};
    for (int i = 0; i < n; i++) {
        message value = {0};
        put_data(&value, 1, tags[i], strlen(tags[i]));
        put_float(&value, 2, values[i]); /* simple_value */
        put_message(&summary, 1, &value);
    }
    put_message(&m, 5, &summary);
    write_record(v, &m);
}

/* The big-endian number at p. */
static int64_t big_endian(const uint8_t *p)
{
    return (int64_t)p[0] << 24 | p[1] << 16 | p[2] << 8 | p[3];
}

void events_picture(events *v, int64_t step, const char *tag, const char *png)
{
    file_map f = {0};
    if (!file_map_open(&f, png, NULL) || f.size < 24) {
        file_map_release(&f);
        return;
    }
    message m = event_of(step), summary = {0}, value = {0}, image = {0};
    put_int(&image, 1, big_endian(f.data + 20)); /* height and width: from IHDR, which comes first */
    put_int(&image, 2, big_endian(f.data + 16));
    put_int(&image, 3, 3); /* RGB */
    put_data(&image, 4, f.data, f.size);
    put_data(&value, 1, tag, strlen(tag));
    put_message(&value, 4, &image);
    put_message(&summary, 1, &value);
    put_message(&m, 5, &summary);
    write_record(v, &m);
    file_map_release(&f);
}

bool events_flush(events *v)
{
    return fflush(v->f) == 0 && !ferror(v->f);
}
