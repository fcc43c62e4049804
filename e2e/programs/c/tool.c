// A small tool: what a C program does with standard streams, files, clocks and the processor. Its output depends on
// nothing but its arguments, its input and the folder it is given.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static int by_name(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

// SHA-256 (FIPS 180-4).

static const uint32_t K[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

static uint32_t rotate(uint32_t x, int n) { return x >> n | x << (32 - n); }

static void block(uint32_t h[8], const uint8_t *p) {
    uint32_t w[64], v[8];
    for (int i = 0; i < 16; i++)
        w[i] = (uint32_t)p[4 * i] << 24 | p[4 * i + 1] << 16 | p[4 * i + 2] << 8 | p[4 * i + 3];
    for (int i = 16; i < 64; i++)
        w[i] = (rotate(w[i - 2], 17) ^ rotate(w[i - 2], 19) ^ w[i - 2] >> 10) + w[i - 7] +
               (rotate(w[i - 15], 7) ^ rotate(w[i - 15], 18) ^ w[i - 15] >> 3) + w[i - 16];
    memcpy(v, h, sizeof v);
    for (int i = 0; i < 64; i++) {
        uint32_t t1 = v[7] + (rotate(v[4], 6) ^ rotate(v[4], 11) ^ rotate(v[4], 25)) +
                      ((v[4] & v[5]) ^ (~v[4] & v[6])) + K[i] + w[i];
        uint32_t t2 = (rotate(v[0], 2) ^ rotate(v[0], 13) ^ rotate(v[0], 22)) +
                      ((v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]));
        memmove(v + 1, v, 7 * sizeof *v);
        v[4] += t1;
        v[0] = t1 + t2;
    }
    for (int i = 0; i < 8; i++)
        h[i] += v[i];
}

static void sha256(const uint8_t *data, size_t len, char out[65]) {
    uint32_t h[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                     0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    uint8_t tail[128] = {0};
    size_t whole = len / 64 * 64, rest = len - whole, end = rest < 56 ? 64 : 128;
    for (size_t i = 0; i < whole; i += 64)
        block(h, data + i);
    if (rest)
        memcpy(tail, data + whole, rest);
    tail[rest] = 0x80;
    for (int i = 0; i < 8; i++)
        tail[end - 1 - i] = (uint8_t)((uint64_t)len * 8 >> 8 * i);
    for (size_t i = 0; i < end; i += 64)
        block(h, tail + i);
    for (int i = 0; i < 8; i++)
        sprintf(out + 8 * i, "%08x", h[i]);
}

// Streams.

static int echo(int argc, char **argv) {
    for (int i = 2; i < argc; i++)
        printf("arg %d: %s\n", i - 1, argv[i]);
    size_t count = 0;
    while (environ && environ[count])
        count++;
    if (count)
        qsort(environ, count, sizeof *environ, by_name);
    for (size_t i = 0; i < count; i++)
        printf("env: %s\n", environ[i]);
    static uint8_t input[1 << 20];
    size_t len = fread(input, 1, sizeof input, stdin);
    char hash[65];
    sha256(input, len, hash);
    printf("stdin: %zu bytes, sha256 %s\n", len, hash);
    fprintf(stderr, "tool: echoed\n");
    return argc > 2 ? atoi(argv[2]) : 0;
}

// Files.

static const char *why(void) { return errno ? strerror(errno) : "no error"; }

#define TRY(what, call)                                                                                               \
    do {                                                                                                              \
        errno = 0;                                                                                                    \
        long result = (long)(call);                                                                                   \
        printf("%s: %s\n", what, result == -1 ? why() : "ok");                                                        \
    } while (0)

static void write_file(const char *path, const char *mode, const void *data, size_t len) {
    FILE *file = fopen(path, mode);
    if (!file) {
        printf("open %s %s: %s\n", path, mode, why());
        return;
    }
    size_t done = fwrite(data, 1, len, file);
    int closed = fclose(file);
    printf("write %s %s: %zu of %zu, close %d\n", path, mode, done, len, closed);
}

static void show_file(const char *path) {
    FILE *file = fopen(path, "r");
    if (!file) {
        printf("read %s: %s\n", path, why());
        return;
    }
    static uint8_t data[2 << 20];
    size_t len = fread(data, 1, sizeof data, file);
    char hash[65];
    sha256(data, len, hash);
    printf("read %s: %zu bytes, sha256 %.16s, error %d, end %d\n", path, len, hash, ferror(file), feof(file));
    fclose(file);
}

static const char *kind(mode_t mode) {
    return S_ISREG(mode) ? "file" : S_ISDIR(mode) ? "directory" : S_ISLNK(mode) ? "link" : "other";
}

static void list(const char *path) {
    DIR *dir = opendir(path);
    if (!dir) {
        printf("list %s: %s\n", path, why());
        return;
    }
    char *names[1024];
    size_t count = 0;
    struct dirent *entry;
    while ((entry = readdir(dir)) && count < 1024)
        names[count++] = strdup(entry->d_name);
    closedir(dir);
    qsort(names, count, sizeof *names, by_name);
    printf("list %s: %zu entries\n", path, count);
    for (size_t i = 0; i < count && count < 32; i++) {
        char full[512];
        struct stat at;
        snprintf(full, sizeof full, "%s/%s", path, names[i]);
        // The size of a directory is the file system's own affair.
        if (lstat(full, &at) == 0)
            printf("  %s %s %lld links %d\n", names[i], kind(at.st_mode),
                   S_ISDIR(at.st_mode) ? -1 : (long long)at.st_size, S_ISDIR(at.st_mode) ? -1 : (int)at.st_nlink);
        else
            printf("  %s: %s\n", names[i], why());
    }
}

static int files(const char *dir) {
    char target[256];
    if (chdir(dir)) {
        printf("chdir %s: %s\n", dir, why());
        return 1;
    }
    TRY("mkdir work", mkdir("work", 0777));
    TRY("mkdir work again", mkdir("work", 0777));
    TRY("mkdir deep", mkdir("work/deep", 0777));
    TRY("mkdir without parent", mkdir("absent/deep", 0777));

    write_file("work/a.txt", "w", "first line\n", 11);
    write_file("work/a.txt", "a", "second line\n", 12);
    show_file("work/a.txt");
    write_file("work/a.txt", "wx", "never", 5);

    static uint8_t big[1 << 20];
    uint32_t x = 1;
    for (size_t i = 0; i < sizeof big; i++)
        big[i] = (uint8_t)((x = x * 1664525 + 1013904223) >> 24);
    write_file("work/big.bin", "w", big, sizeof big);
    show_file("work/big.bin");
    int fd = open("work/big.bin", O_RDWR);
    uint8_t piece[16];
    printf("pread: %zd\n", pread(fd, piece, sizeof piece, 700000));
    printf("same: %d\n", memcmp(piece, big + 700000, sizeof piece));
    printf("pwrite: %zd\n", pwrite(fd, "patched", 7, 100));
    printf("seek to end: %lld\n", (long long)lseek(fd, 0, SEEK_END));
    printf("seek before start: %lld, %s\n", (long long)lseek(fd, -1, SEEK_SET), why());
    TRY("shrink", ftruncate(fd, 5000));
    TRY("grow", ftruncate(fd, 6000));
    TRY("sync", fsync(fd));
    struct timespec times[2] = {{.tv_sec = 1000000000}, {.tv_sec = 1234567890, .tv_nsec = 500000000}};
    TRY("set times", futimens(fd, times));
    struct stat at;
    TRY("stat", fstat(fd, &at));
    printf("size %lld, mtime %lld.%09ld, kind %s\n", (long long)at.st_size, (long long)at.st_mtim.tv_sec,
           at.st_mtim.tv_nsec, kind(at.st_mode));
    TRY("close", close(fd));
    TRY("close again", close(fd));
    show_file("work/big.bin");

    TRY("rename", rename("work/a.txt", "work/deep/b.txt"));
    write_file("work/c.txt", "w", "replaced\n", 9);
    TRY("rename over", rename("work/deep/b.txt", "work/c.txt"));
    show_file("work/c.txt");
    TRY("rename absent", rename("work/absent", "work/d"));
    TRY("hard link", link("work/c.txt", "work/hard.txt"));
    TRY("symlink", symlink("c.txt", "work/soft.txt"));
    TRY("symlink out", symlink("../../../etc/passwd", "work/out"));
    TRY("symlink absolute", symlink("/etc/passwd", "work/absolute"));
    TRY("symlink dangling", symlink("nowhere", "work/dangling"));
    ssize_t len = readlink("work/soft.txt", target, sizeof target);
    printf("readlink: %.*s\n", len < 0 ? 0 : (int)len, target);
    show_file("work/soft.txt");
    show_file("work/dangling");
    show_file("work/out");
    TRY("stat through link", stat("work/soft.txt", &at));
    list("work");

    TRY("open absent", open("work/absent", O_RDONLY));
    TRY("open directory for writing", open("work", O_WRONLY));
    TRY("open file as directory", open("work/c.txt", O_RDONLY | O_DIRECTORY));
    TRY("escape by dots", open("work/../../etc/passwd", O_RDONLY));
    TRY("escape by root", open("/etc/passwd", O_RDONLY));
    TRY("remove full directory", rmdir("work"));
    TRY("remove file as directory", rmdir("work/c.txt"));
    TRY("unlink directory", unlink("work/deep"));
    TRY("remove directory", rmdir("work/deep"));
    TRY("unlink", unlink("work/hard.txt"));
    TRY("unlink again", unlink("work/hard.txt"));

    TRY("mkdir many", mkdir("many", 0777));
    for (int i = 0; i < 300; i++) {
        char name[64];
        snprintf(name, sizeof name, "many/entry with a rather long name, number %03d", i);
        int fd = open(name, O_CREAT | O_WRONLY, 0666);
        if (fd < 0 || write(fd, name, strlen(name)) < 0)
            printf("%s: %s\n", name, why());
        close(fd);
    }
    list("many");
    return 0;
}

// Clocks and random numbers.

static int clocks(void) {
    struct timespec before, after, wall;
    clock_gettime(CLOCK_MONOTONIC, &before);
    clock_gettime(CLOCK_REALTIME, &wall);
    struct timespec nap = {.tv_nsec = 20000000};
    int result = nanosleep(&nap, NULL);
    clock_gettime(CLOCK_MONOTONIC, &after);
    long long slept = (after.tv_sec - before.tv_sec) * 1000000000LL + after.tv_nsec - before.tv_nsec;
    printf("nanosleep %d, slept at least 20 ms: %d\n", result, slept >= 20000000);
    printf("after 2024: %d\n", wall.tv_sec > 1704067200);
    uint64_t a = 0, b = 0;
    int one = getentropy(&a, sizeof a), other = getentropy(&b, sizeof b);
    printf("entropy %d %d, two numbers differ: %d\n", one, other, a != b);
    return 0;
}

static int compute(void) {
    static uint8_t data[1 << 20];
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)(i * 31 ^ i >> 8);
    char hash[65];
    sha256(data, sizeof data, hash);
    printf("sha256 %s\n", hash);
    double sum = 0;
    for (int i = 1; i <= 1000000; i++)
        sum += 1.0 / ((double)i * i);
    printf("sum %.17g, as hexadecimal %a\n", sum, sum);
    printf("float %.9g, not a number %d\n", (double)(1.0f / 3.0f), strtod("nan", NULL) != strtod("nan", NULL));
    char *list[] = {"pear", "apple", "fig", "cherry"};
    qsort(list, 4, sizeof *list, by_name);
    printf("sorted %s %s %s %s\n", list[0], list[1], list[2], list[3]);
    return 0;
}

static volatile int seven = 7, zero;

static int deeper(int n) {
    volatile char frame[1024];
    frame[0] = (char)n;
    return (seven ? deeper(n + 1) : 0) + frame[0];
}

int main(int argc, char **argv) {
    const char *command = argc > 1 ? argv[1] : "";
    if (!strcmp(command, "echo"))
        return echo(argc, argv);
    if (!strcmp(command, "files"))
        return files(argc > 2 ? argv[2] : "/data");
    if (!strcmp(command, "clocks"))
        return clocks();
    if (!strcmp(command, "compute"))
        return compute();
    if (!strcmp(command, "trap")) {
        printf("about to divide by zero\n");
        fflush(stdout);
        return seven / zero;
    }
    if (!strcmp(command, "deep"))
        return deeper(0);
    if (!strcmp(command, "abort"))
        abort();
    fprintf(stderr, "tool: no command '%s'\n", command);
    return 2;
}
