/* What limn asks of an operating system where systems differ: os_posix.c and os_windows.c.  What both know by POSIX's
 * names (stat, opendir, read, close, getpid, pthread) is called as it is.  Paths are UTF-8, with slashes. */
#ifndef BASE_OS_H
#define BASE_OS_H
#include <dirent.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <time.h>

/* ---- the machine ---- */

size_t os_page_size(void);
uint64_t os_memory(void);      /* bytes; 0 where the system doesn't say */
uint64_t os_memory_left(void); /* that can be had without pushing out what others use; 0 where it isn't known */
int os_processors(void);       /* that are at work, 1 at least */
/* Names of the system's kernel ("Linux 6.1.0") and of the CPU's kind ("x86_64"), the user's and the machine's, and the
 * home directory; "" where they aren't known. */
void os_kernel(char name[160], char cpu[80]);
void os_user(char name[256], char home[1024]);
void os_host(char name[256]);
bool os_random(void *to, size_t bytes); /* that nobody can guess */

/* ---- memory ---- */

/* Addresses, whose memory is taken where they are written; NULL: there is none. */
void *os_pages_new(size_t bytes);
void os_pages_huge(void *at, size_t bytes);   /* asks for huge pages; without them they are small */
void os_pages_forget(void *at, size_t bytes); /* gives the memory back; what was there may be lost */
void os_pages_free(void *at, size_t bytes);
void *os_aligned_new(size_t alignment, size_t bytes); /* bytes: a multiple of the alignment */
void os_aligned_free(void *at);

/* ---- files: what fails sets errno ---- */

typedef enum os_how {
    OS_READ,     /* what is there, also a pipe that has no writer yet */
    OS_WRITE,    /* what is there */
    OS_EMPTY,    /* the same, whose content goes away */
    OS_NEW,      /* to read and write; nothing has the name yet */
    OS_SAME,     /* to read and write what is there, and is no link */
    OS_SAME_NEW, /* the same, made where it isn't there */
} os_how;
/* A descriptor that child processes don't inherit, or -1.  An open file can be removed. */
int os_open(const char *path, os_how how);
/* A whole file for reading, page-aligned; NULL where that fails. */
void *os_map(int fd, size_t bytes);
void os_unmap(void *at, size_t bytes);
ssize_t os_read_at(int fd, void *to, size_t bytes, int64_t at);
ssize_t os_write_at(int fd, const void *from, size_t bytes, int64_t at);
/* A lock against other processes, that goes with the file's last descriptor.  False where another has it (EWOULDBLOCK;
 * not with `wait`), or the file system has none. */
bool os_lock(int fd, bool wait);
bool os_sync(int fd);
/* Makes the names in a folder durable.  True where the system has no way to. */
bool os_sync_folder(const char *folder);
int os_reserve(int fd, int64_t bytes); /* room for a file's content: 0, or the errno of a disk without it */
/* A new file becomes its predecessor's owner's, and as private as that was.  False: that was another user's. */
bool os_take_over(int fd, const struct stat *predecessor);
bool os_rename(const char *from, const char *to);     /* what is there is replaced */
bool os_rename_new(const char *from, const char *to); /* EEXIST where something is there */
bool os_make_folder(const char *path);                /* true where it is there already */
char *os_real_path(const char *path);                 /* absolute and without links, a new string, or NULL */
int os_lstat(const char *path, struct stat *st);      /* of a link itself */
bool os_is_link(const struct stat *st);
bool os_is_device(const char *path);      /* a name that the system keeps for devices */
bool os_is_stream(const struct stat *st); /* a pipe, a terminal, a socket: written as it is */
struct timespec os_modified(const struct stat *st);
struct timespec os_changed(const struct stat *st); /* also its names or its owner; no program sets that back */

/* What two names or descriptors of one file have in common, and those of two files haven't. */
typedef struct os_id {
    uint64_t device, file;
} os_id;
bool os_id_at(const char *path, os_id *id);
bool os_id_of(int fd, os_id *id);
bool os_same_file(const char *a, const char *b); /* both are there, and one */

/* A folder's entries that pass, in order, as scandir: a new array of new entries, how many, or -1. */
int os_list(const char *folder, struct dirent ***list, int (*passes)(const struct dirent *),
            int (*order)(const struct dirent **, const struct dirent **));
bool os_matches(const char *pattern, const char *name); /* "a*" and "abc" */

const char *os_temporary_folder(void);
FILE *os_temporary_file(void); /* without a name, gone when it is closed */
char *os_cache_folder(void);   /* where limn's caches go unless somebody says otherwise, a new string, or NULL */
int os_stat(const char *path, struct stat *st); /* where a folder's path may end in a slash */
void os_use_slashes(char *path);                /* of a path that a user gave */

/* Text in the making: written to a stream, then a new string. */
typedef struct os_text {
    FILE *stream; /* NULL where there was no memory */
    char *text;
    size_t size;
} os_text;
bool os_text_open(os_text *t);
/* The text; NULL where something failed, or it wasn't open. */
char *os_text_close(os_text *t);

/* ---- the process ---- */

/* Before all else in main: every standard stream is open, for nothing where the caller closed it, and takes bytes as
 * they are.  Returns the arguments, in UTF-8. */
char **os_start(int argc, char **argv);
/* Seconds that the process has worked, and how often it waited for a file's pages. */
double os_worked(long *pages);
/* As pthread_create; signals that users and terminals send are for the caller's threads. */
int os_thread(pthread_t *t, void *(*run)(void *), void *context);
/* Whether a shared library can be loaded and has a function of that name.  why: "can't be loaded: …", else "". */
bool os_library_has(const char *library, const char *function, char *why, size_t size);

/* Signals that end a program: Ctrl-C, a terminal that is closed, kill, too much time.  One that is ignored stays so: a
 * shell that starts limn in the background ignores SIGINT for it, nohup SIGHUP. */
void os_catch_ends(void (*handler)(int));
void os_catch(int number, void (*handler)(int));
void os_catch_once(int number, void (*handler)(int)); /* the next one ends the program; also where it was ignored */
/* A write that fails is an error of the write alone: a file that is too large for ulimit -f, a reader that is gone. */
void os_writes_fail(void);
/* As a program ends that writes to a reader that is gone. */
void os_end_unread(void);

/* ---- the terminal of stderr ---- */

bool os_terminal_redraws(void); /* it can draw a line again, and this program is in its foreground */
int os_terminal_columns(void);  /* now; 0: not known */

/* ---- what Windows' C library lacks, by POSIX's names ---- */

#ifdef _WIN32
#ifndef NAME_MAX
#define NAME_MAX 255
#endif
char *strndup(const char *text, size_t most);
#endif
#endif
