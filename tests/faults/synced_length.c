/* What of a file a power loss would leave: whenever a program has synced a file, its length before that is written to
 * SYNCED_LENGTHS/<name of the file>. Loaded before the C library:
 *     LD_PRELOAD=/usr/local/lib/synced_length.so SYNCED_LENGTHS=<directory>
 * The test kills the program and takes away what is beyond that length. That is more than a power loss takes: a kernel
 * writes to the disk by itself as well. Not imitated: directories, and blocks that reach the disk in another order.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static void record(int file, long length)
{
    const char *directory = getenv("SYNCED_LENGTHS");
    char link[64], path[4096], name[4096], text[32];
    ssize_t size;
    int side;

    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    size = readlink(link, path, sizeof path - 1);
    if (!directory || size <= 0)
        return;
    path[size] = 0;
    snprintf(name, sizeof name, "%s%s", directory, strrchr(path, '/'));
    side = open(name, O_WRONLY | O_CREAT, 0600);
    if (side < 0)
        return;
    /* One write of always the same size: whenever the program is killed, it is the old number or the new one. */
    snprintf(text, sizeof text, "%020ld\n", length);
    if (pwrite(side, text, 21, 0) != 21)
        unlink(name);
    close(side);
}

static int synced(long call, int file)
{
    struct stat before;
    int known = fstat(file, &before) == 0 && S_ISREG(before.st_mode);
    int result = syscall(call, file);

    if (result == 0 && known)
        record(file, before.st_size);
    return result;
}

int fsync(int file)
{
    return synced(SYS_fsync, file);
}

int fdatasync(int file)
{
    return synced(SYS_fdatasync, file);
}
