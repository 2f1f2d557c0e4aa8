/* The operating system: Windows.  The program's manifest makes UTF-8 the code page of the narrow functions. */
#define WIN32_LEAN_AND_MEAN
#include "base/os.h"

#include <windows.h>
/* after it */
#include <direct.h>
#include <errno.h>
#include <fcntl.h>
#include <io.h>
#include <psapi.h>
#include <shellapi.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

/* Sets errno by the system's last error; returns false. */
static bool failed(void)
{
    switch (GetLastError()) {
    case ERROR_FILE_NOT_FOUND:
    case ERROR_PATH_NOT_FOUND:
    case ERROR_INVALID_NAME:
    case ERROR_BAD_NETPATH:
        errno = ENOENT;
        break;
    case ERROR_FILE_EXISTS:
    case ERROR_ALREADY_EXISTS:
        errno = EEXIST;
        break;
    case ERROR_ACCESS_DENIED:
    case ERROR_SHARING_VIOLATION:
    case ERROR_WRITE_PROTECT:
        errno = EACCES;
        break;
    case ERROR_LOCK_VIOLATION:
    case ERROR_IO_PENDING:
        errno = EWOULDBLOCK;
        break;
    case ERROR_DISK_FULL:
    case ERROR_HANDLE_DISK_FULL:
        errno = ENOSPC;
        break;
    case ERROR_NOT_ENOUGH_MEMORY:
    case ERROR_OUTOFMEMORY:
        errno = ENOMEM;
        break;
    default:
        errno = EIO;
    }
    return false;
}

static HANDLE handle_of(int fd)
{
    return (HANDLE)_get_osfhandle(fd);
}

/* ---- the machine ---- */

size_t os_page_size(void)
{
    SYSTEM_INFO i;
    GetSystemInfo(&i);
    return i.dwPageSize;
}

int os_processors(void)
{
    SYSTEM_INFO i;
    GetSystemInfo(&i);
    return i.dwNumberOfProcessors < 1 ? 1 : (int)i.dwNumberOfProcessors;
}

uint64_t os_memory(void)
{
    MEMORYSTATUSEX m = {.dwLength = sizeof m};
    return GlobalMemoryStatusEx(&m) ? m.ullTotalPhys : 0;
}

uint64_t os_memory_left(void)
{
    MEMORYSTATUSEX m = {.dwLength = sizeof m};
    return GlobalMemoryStatusEx(&m) ? m.ullAvailPhys : 0;
}

void os_kernel(char name[160], char cpu[80])
{
    typedef LONG WINAPI version(OSVERSIONINFOW *); /* GetVersionEx tells what the manifest claims */
    OSVERSIONINFOW v = {.dwOSVersionInfoSize = sizeof v};
    version *get = (version *)(void (*)(void))GetProcAddress(GetModuleHandleA("ntdll.dll"), "RtlGetVersion");
    if (get)
        get(&v);
    snprintf(name, 160, "Windows %lu.%lu.%lu", v.dwMajorVersion, v.dwMinorVersion, v.dwBuildNumber);
#ifdef _M_ARM64
    snprintf(cpu, 80, "aarch64");
#else
    snprintf(cpu, 80, "x86_64");
#endif
}

void os_user(char name[256], char home[1024])
{
    DWORD size = 256;
    const char *profile = getenv("USERPROFILE");
    if (!GetUserNameA(name, &size))
        name[0] = 0;
    snprintf(home, 1024, "%.1023s", profile ? profile : "");
}

void os_host(char name[256])
{
    DWORD size = 256;
    if (!GetComputerNameA(name, &size))
        name[0] = 0;
}

BOOLEAN NTAPI SystemFunction036(void *to, ULONG bytes); /* RtlGenRandom, which has no header */

bool os_random(void *to, size_t bytes)
{
    return SystemFunction036(to, (ULONG)bytes);
}

/* ---- memory ---- */

void *os_pages_new(size_t bytes)
{
    return VirtualAlloc(NULL, bytes, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
}

void os_pages_huge(void *at, size_t bytes)
{
    (void)at, (void)bytes; /* they need a privilege that nobody has */
}

void os_pages_forget(void *at, size_t bytes)
{
    VirtualUnlock(at, bytes); /* of memory that isn't locked: it leaves the working set */
}

void os_pages_free(void *at, size_t bytes)
{
    (void)bytes;
    VirtualFree(at, 0, MEM_RELEASE);
}

void *os_aligned_new(size_t alignment, size_t bytes)
{
    return _aligned_malloc(bytes, alignment);
}

void os_aligned_free(void *at)
{
    _aligned_free(at);
}

/* ---- files ---- */

static bool is_folder(const char *path)
{
    DWORD a = GetFileAttributesA(path);
    return a != INVALID_FILE_ATTRIBUTES && a & FILE_ATTRIBUTE_DIRECTORY;
}

int os_open(const char *path, os_how how)
{
    static const struct {
        DWORD access, make;
        int flags;
    } as[] = {[OS_READ] = {GENERIC_READ, OPEN_EXISTING, _O_RDONLY},
              [OS_WRITE] = {GENERIC_WRITE, OPEN_EXISTING, _O_WRONLY},
              [OS_EMPTY] = {GENERIC_WRITE, TRUNCATE_EXISTING, _O_WRONLY},
              [OS_NEW] = {GENERIC_READ | GENERIC_WRITE, CREATE_NEW, _O_RDWR},
              [OS_SAME] = {GENERIC_READ | GENERIC_WRITE, OPEN_EXISTING, _O_RDWR},
              [OS_SAME_NEW] = {GENERIC_READ | GENERIC_WRITE, OPEN_ALWAYS, _O_RDWR}};
    HANDLE h = CreateFileA(path, as[how].access, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, NULL,
                           as[how].make, FILE_ATTRIBUTE_NORMAL, NULL);
    if (h == INVALID_HANDLE_VALUE) {
        failed();
        if (errno == EACCES && is_folder(path))
            errno = EISDIR;
        return -1;
    }
    int fd = _open_osfhandle((intptr_t)h, as[how].flags | _O_BINARY | _O_NOINHERIT);
    if (fd < 0)
        CloseHandle(h);
    return fd;
}

void *os_map(int fd, size_t bytes)
{
    HANDLE mapping = CreateFileMappingA(handle_of(fd), NULL, PAGE_READONLY, 0, 0, NULL);
    void *at = mapping ? MapViewOfFile(mapping, FILE_MAP_READ, 0, 0, bytes) : NULL;
    if (!at)
        failed();
    if (mapping)
        CloseHandle(mapping); /* the view holds it */
    return at;
}

void os_unmap(void *at, size_t bytes)
{
    (void)bytes;
    UnmapViewOfFile(at);
}

ssize_t os_read_at(int fd, void *to, size_t bytes, int64_t at)
{
    OVERLAPPED place = {.Offset = (DWORD)at, .OffsetHigh = (DWORD)(at >> 32)};
    DWORD done = 0;
    if (!ReadFile(handle_of(fd), to, (DWORD)bytes, &done, &place) && GetLastError() != ERROR_HANDLE_EOF) {
        failed();
        return -1;
    }
    return (ssize_t)done;
}

ssize_t os_write_at(int fd, const void *from, size_t bytes, int64_t at)
{
    OVERLAPPED place = {.Offset = (DWORD)at, .OffsetHigh = (DWORD)(at >> 32)};
    DWORD done = 0;
    if (!WriteFile(handle_of(fd), from, (DWORD)bytes, &done, &place)) {
        failed();
        return -1;
    }
    return (ssize_t)done;
}

bool os_lock(int fd, bool wait)
{
    /* of a byte far behind the file's end: what is locked can't be read through other handles */
    OVERLAPPED place = {.Offset = 0xFFFFFFFE, .OffsetHigh = 0x7FFFFFFF};
    return LockFileEx(handle_of(fd), LOCKFILE_EXCLUSIVE_LOCK | (wait ? 0 : LOCKFILE_FAIL_IMMEDIATELY), 0, 1, 0,
                      &place) ||
           failed();
}

bool os_sync(int fd)
{
    return _commit(fd) == 0;
}

bool os_sync_folder(const char *folder)
{
    (void)folder; /* os_rename writes through */
    return true;
}

int os_reserve(int fd, int64_t bytes)
{
    (void)fd, (void)bytes;
    return 0;
}

bool os_take_over(int fd, const struct stat *predecessor)
{
    (void)fd, (void)predecessor; /* rights come from the folder */
    return true;
}

bool os_rename(const char *from, const char *to)
{
    return MoveFileExA(from, to, MOVEFILE_REPLACE_EXISTING | MOVEFILE_WRITE_THROUGH) || failed();
}

bool os_rename_new(const char *from, const char *to)
{
    return MoveFileExA(from, to, MOVEFILE_WRITE_THROUGH) || failed();
}

bool os_make_folder(const char *path)
{
    size_t n = strlen(path);
    if ((n == 2 && path[1] == ':') || is_folder(path) || (n == 1 && path[0] == '/'))
        return true;
    if (!strncmp(path, "//", 2) && !strchr(path + 2 + strcspn(path + 2, "/") + (strchr(path + 2, '/') != NULL), '/'))
        return true; /* a part of a share's name */
    if (CreateDirectoryA(path, NULL))
        return true;
    failed();
    if (errno == EEXIST)
        errno = ENOTDIR;
    return false;
}

char *os_real_path(const char *path)
{
    char whole[4 * MAX_PATH];
    DWORD n = GetFullPathNameA(path, sizeof whole, whole, NULL);
    if (n == 0 || n >= sizeof whole || GetFileAttributesA(whole) == INVALID_FILE_ATTRIBUTES) {
        failed();
        return NULL;
    }
    os_use_slashes(whole);
    return strdup(whole);
}

int os_lstat(const char *path, struct stat *st)
{
    return stat(path, st);
}

bool os_is_link(const struct stat *st)
{
    (void)st;
    return false;
}

bool os_is_device(const char *path)
{
    static const char *const names[] = {"nul", "con", "prn", "aux", "conin$", "conout$"};
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    size_t n = strcspn(name, ".");
    if (n == 4 && name[3] >= '1' && name[3] <= '9' && (!_strnicmp(name, "com", 3) || !_strnicmp(name, "lpt", 3)))
        return true;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strlen(names[i]) == n && !_strnicmp(name, names[i], n))
            return true;
    return false;
}

bool os_is_stream(const struct stat *st)
{
    return !S_ISREG(st->st_mode) && !S_ISDIR(st->st_mode);
}

struct timespec os_modified(const struct stat *st)
{
    return (struct timespec){.tv_sec = st->st_mtime};
}

struct timespec os_changed(const struct stat *st)
{
    return (struct timespec){.tv_sec = st->st_mtime};
}

static bool id_of(HANDLE h, os_id *id)
{
    BY_HANDLE_FILE_INFORMATION i;
    *id = (os_id){0};
    if (!GetFileInformationByHandle(h, &i))
        return failed();
    *id = (os_id){i.dwVolumeSerialNumber, (uint64_t)i.nFileIndexHigh << 32 | i.nFileIndexLow};
    return true;
}

bool os_id_of(int fd, os_id *id)
{
    return id_of(handle_of(fd), id);
}

bool os_id_at(const char *path, os_id *id)
{
    HANDLE h = CreateFileA(path, 0, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, NULL, OPEN_EXISTING,
                           FILE_FLAG_BACKUP_SEMANTICS, NULL); /* folders too */
    *id = (os_id){0};
    if (h == INVALID_HANDLE_VALUE)
        return failed();
    bool ok = id_of(h, id);
    CloseHandle(h);
    return ok;
}

bool os_same_file(const char *a, const char *b)
{
    os_id x, y;
    return os_id_at(a, &x) && os_id_at(b, &y) && x.device == y.device && x.file == y.file;
}

int os_list(const char *folder, struct dirent ***list, int (*passes)(const struct dirent *),
            int (*order)(const struct dirent **, const struct dirent **))
{
    DIR *d = opendir(folder);
    struct dirent **all = NULL;
    int n = 0;
    if (!d)
        return -1;
    for (struct dirent *entry; (entry = readdir(d));) {
        if (passes && !passes(entry))
            continue;
        struct dirent **grown = realloc(all, (size_t)(n + 1) * sizeof *all), *copy = malloc(sizeof *copy);
        all = grown ? grown : all;
        if (!grown || !copy) {
            free(copy);
            while (n > 0)
                free(all[--n]);
            free(all);
            closedir(d);
            errno = ENOMEM;
            return -1;
        }
        memcpy(copy, entry, sizeof *copy);
        all[n++] = copy;
    }
    closedir(d);
    if (n && order)
        qsort(all, (size_t)n, sizeof *all, (int (*)(const void *, const void *))order);
    *list = all;
    return n;
}

bool os_matches(const char *pattern, const char *name)
{
    for (; *pattern; pattern++, name++) {
        if (*pattern == '*') {
            do
                if (os_matches(pattern + 1, name))
                    return true;
            while (*name++);
            return false;
        }
        if (!*name || (*pattern != '?' && *pattern != *name))
            return false;
    }
    return !*name;
}

const char *os_temporary_folder(void)
{
    static _Thread_local char folder[MAX_PATH + 1];
    DWORD n = GetTempPathA(sizeof folder, folder);
    if (n == 0 || n > MAX_PATH)
        return ".";
    os_use_slashes(folder);
    return folder;
}

FILE *os_temporary_file(void)
{
    char path[MAX_PATH + 1];
    if (!GetTempFileNameA(os_temporary_folder(), "lmn", 0, path)) {
        failed();
        return NULL;
    }
    HANDLE h =
        CreateFileA(path, GENERIC_READ | GENERIC_WRITE | DELETE, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE,
                    NULL, CREATE_ALWAYS, FILE_ATTRIBUTE_TEMPORARY | FILE_FLAG_DELETE_ON_CLOSE, NULL);
    if (h == INVALID_HANDLE_VALUE) {
        failed();
        DeleteFileA(path);
        return NULL;
    }
    int fd = _open_osfhandle((intptr_t)h, _O_RDWR | _O_BINARY | _O_NOINHERIT);
    FILE *f = fd >= 0 ? fdopen(fd, "w+b") : NULL;
    if (!f && fd >= 0)
        close(fd);
    else if (!f)
        CloseHandle(h);
    return f;
}

char *os_cache_folder(void)
{
    const char *local = getenv("LOCALAPPDATA");
    size_t n = local ? strlen(local) + 6 : 0;
    char *folder = n > 6 ? malloc(n) : NULL;
    if (folder) {
        snprintf(folder, n, "%s/limn", local);
        os_use_slashes(folder);
    }
    return folder;
}

void os_use_slashes(char *path)
{
    size_t n = strlen(path);
    for (size_t i = 0; i < n; i++) /* no byte of a longer letter is a backslash */
        if (path[i] == '\\')
            path[i] = '/';
    if (n > 1 && path[n - 1] == '/' && path[n - 2] != ':' && path[n - 2] != '/')
        path[n - 1] = 0;
}

int os_stat(const char *path, struct stat *st)
{
    char *own = strdup(path);
    if (!own)
        return -1;
    os_use_slashes(own);
    int status = stat(own, st);
    free(own);
    return status;
}

bool os_text_open(os_text *t)
{
    *t = (os_text){.stream = os_temporary_file()};
    return t->stream != NULL;
}

char *os_text_close(os_text *t)
{
    FILE *f = t->stream;
    *t = (os_text){0};
    if (!f)
        return NULL;
    bool ok = !ferror(f) && fflush(f) == 0;
    int64_t n = ok ? _ftelli64(f) : -1;
    char *text = n >= 0 ? malloc((size_t)n + 1) : NULL;
    rewind(f);
    if (text && fread(text, 1, (size_t)n, f) != (size_t)n) {
        free(text);
        text = NULL;
    }
    if (text)
        text[n] = 0;
    fclose(f);
    return text;
}

/* ---- the process ---- */

static UINT page_before; /* the console's, which the next program has too */

static void give_page_back(void)
{
    SetConsoleOutputCP(page_before);
}

/* The arguments in UTF-8, also where the manifest counts for nothing; NULL where there is no memory. */
static char **arguments(int argc)
{
    int n = 0;
    wchar_t **wide = CommandLineToArgvW(GetCommandLineW(), &n);
    char **list = wide && n == argc ? calloc((size_t)n + 1, sizeof *list) : NULL;
    for (int i = 0; list && i < n; i++) {
        int size = WideCharToMultiByte(CP_UTF8, 0, wide[i], -1, NULL, 0, NULL, NULL);
        list[i] = size > 0 ? malloc((size_t)size) : NULL;
        if (!list[i])
            return NULL;
        WideCharToMultiByte(CP_UTF8, 0, wide[i], -1, list[i], size, NULL, NULL);
    }
    if (wide)
        LocalFree(wide);
    return list;
}

char **os_start(int argc, char **argv)
{
    DWORD mode;
    HANDLE screen = GetStdHandle(STD_ERROR_HANDLE);
    for (int fd = 0; fd < 3; fd++)
        _setmode(fd, _O_BINARY);
    _fmode = _O_BINARY;
    page_before = GetConsoleOutputCP();
    if (page_before && page_before != CP_UTF8 && SetConsoleOutputCP(CP_UTF8))
        atexit(give_page_back);
    if (GetConsoleMode(screen, &mode))
        SetConsoleMode(screen, mode | ENABLE_VIRTUAL_TERMINAL_PROCESSING);
    char **list = arguments(argc); /* they live as long as the program */
    return list ? list : argv;
}

double os_worked(long *pages)
{
    FILETIME begun, ended, kernel, user;
    PROCESS_MEMORY_COUNTERS m = {.cb = sizeof m};
    *pages = K32GetProcessMemoryInfo(GetCurrentProcess(), &m, sizeof m) ? (long)m.PageFaultCount : 0;
    if (!GetProcessTimes(GetCurrentProcess(), &begun, &ended, &kernel, &user))
        return 0;
    uint64_t ticks = ((uint64_t)kernel.dwHighDateTime << 32 | kernel.dwLowDateTime) +
                     ((uint64_t)user.dwHighDateTime << 32 | user.dwLowDateTime);
    return 1e-7 * (double)ticks;
}

int os_thread(pthread_t *t, void *(*run)(void *), void *context)
{
    return pthread_create(t, NULL, run, context);
}

bool os_library_has(const char *library, const char *function, char *why, size_t size)
{
    HMODULE h = LoadLibraryA(library);
    bool has = h && GetProcAddress(h, function);
    *why = 0;
    if (!h)
        snprintf(why, size, "can't be loaded: error %lu", GetLastError());
    if (h)
        FreeLibrary(h);
    return has;
}

/* Of each signal that was caught the next one ends the program, as the C library has it. */
void os_catch(int number, void (*handler)(int))
{
    if (signal(number, handler) == SIG_IGN)
        signal(number, SIG_IGN);
}

void os_catch_ends(void (*handler)(int))
{
    os_catch(SIGINT, handler);
    os_catch(SIGTERM, handler);
    os_catch(SIGBREAK, handler);
}

void os_catch_once(int number, void (*handler)(int))
{
    signal(number, handler);
}

void os_writes_fail(void)
{
}

void os_end_unread(void)
{
}

/* ---- the terminal of stderr ---- */

bool os_terminal_redraws(void)
{
    DWORD mode;
    return GetConsoleMode(GetStdHandle(STD_ERROR_HANDLE), &mode) && mode & ENABLE_VIRTUAL_TERMINAL_PROCESSING;
}

int os_terminal_columns(void)
{
    CONSOLE_SCREEN_BUFFER_INFO i;
    return GetConsoleScreenBufferInfo(GetStdHandle(STD_ERROR_HANDLE), &i) ? i.srWindow.Right - i.srWindow.Left + 1 : 0;
}

/* ---- what Windows' C library lacks ---- */

char *strndup(const char *text, size_t most)
{
    size_t n = strnlen(text, most);
    char *copy = malloc(n + 1);
    if (copy) {
        memcpy(copy, text, n);
        copy[n] = 0;
    }
    return copy;
}
