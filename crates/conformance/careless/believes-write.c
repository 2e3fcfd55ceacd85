/* A careless producer: it takes it that write(2) wrote all it was given, or anything at all.
 *
 * must fail: write-error, full-disk
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MOST = 262144, MOST_SESSION = 512 };

/* Whether this file holds just these bytes: 1 or 0, -1 with errno if that cannot be said. */
static int holds(const char *path, const char *data, size_t size)
{
    static char found[MOST + 1];
    size_t have = 0;
    ssize_t n = 0;
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return -1;
    while (have < sizeof found && (n = read(fd, found + have, sizeof found - have)) != 0) {
        if (n < 0 && errno != EINTR)
            break;
        have += n > 0 ? (size_t)n : 0;
    }
    close(fd);
    return n < 0 ? -1 : have == size && memcmp(found, data, size) == 0;
}

/* Publishes these bytes as new/ID.json: 0, or -1 with errno; EEXIST if the id belongs to another record. After an error
 * it may be called again with the same bytes. */
static int publish(const char *spool, const char *id, const char *data, size_t size)
{
    enum { ROOM = 4096 };
    char format[ROOM], staged[ROOM], final[ROOM], new[ROOM];
    int fd, dir, error, result = -1;

    if (size > MOST || strlen(spool) + strlen(id) + 32 > ROOM) {
        errno = EMSGSIZE;
        return -1;
    }
    sprintf(format, "%s/format", spool);
    sprintf(staged, "%s/tmp/c.XXXXXX", spool);
    sprintf(new, "%s/new", spool);
    sprintf(final, "%s/new/%s.json", spool, id);
    if (holds(format, "spool 1\n", 8) != 1) {
        errno = EPROTONOSUPPORT;
        return -1;
    }
    /* 1 to 3: a file that nobody sees, written and flushed. A flush that failed is not tried again on the same file. */
    fd = mkstemp(staged);
    if (fd < 0)
        return -1;
    if (write(fd, data, size) < 0)
        perror("write");
    if (fdatasync(fd) < 0)
        goto out;
    /* 4: its name, with a verb that does not overwrite. Taken by the same bytes, it was published before. */
    if (link(staged, final) < 0) {
        if (errno != EEXIST)
            goto out;
        if (holds(final, data, size) != 1) {
            errno = EEXIST;
            goto out;
        }
    }
    /* 5: only now may anybody be told, also of what somebody else had published. */
    dir = open(new, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0)
        goto out;
    result = fsync(dir);
    error = errno;
    close(dir);
    errno = error;
out:
    error = errno;
    close(fd);
    unlink(staged);
    errno = error;
    return result;
}

/* How long the UTF-8 character at `s` is; 0 if there is none. */
static int utf8(const unsigned char *s)
{
    int n = s[0] < 0x80 ? 1 : s[0] >= 0xc2 && s[0] < 0xe0 ? 2 : (s[0] & 0xf0) == 0xe0 ? 3 : s[0] >= 0xf0 && s[0] < 0xf5 ? 4 : 0;
    for (int i = 1; i < n; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) || (s[0] == 0xf0 && s[1] < 0x90) ||
        (s[0] == 0xf4 && s[1] > 0x8f))
        return 0;
    return n;
}

/* Writes a JSON string, quotes included; NULL if `s` is not UTF-8. There must be room for 6 bytes for each of it, and 2. */
static char *json(char *to, const char *text)
{
    const unsigned char *s = (const unsigned char *)text;
    *to++ = '"';
    while (*s) {
        int n = utf8(s);
        if (n == 0)
            return NULL;
        if (*s < 0x20) {
            to += sprintf(to, "\\u%04x", *s);
        } else {
            if (*s == '"' || *s == '\\')
                *to++ = '\\';
            memcpy(to, s, (size_t)n);
            to += n;
        }
        s += n;
    }
    *to++ = '"';
    *to = 0;
    return to;
}

/* A session has at most 512 bytes, no control characters, and no blank at either end. */
static int is_session(const char *text)
{
    size_t n = strlen(text);
    if (n == 0 || n > MOST_SESSION || text[0] == ' ' || text[n - 1] == ' ')
        return 0;
    for (const unsigned char *s = (const unsigned char *)text; *s; s++)
        if (*s < 0x20 || *s == 0x7f || (*s == 0xc2 && s[1] < 0xa0))
            return 0;
    return 1;
}

int main(void)
{
    const char *spool = getenv("SPOOL_DIR"), *id = getenv("SPOOL_ID");
    const char *session = getenv("SPOOL_SESSION"), *text = getenv("SPOOL_TEXT");
    if (!spool || !id || !session || !text || strlen(id) > 128 || !is_session(session)) {
        fputs("publish: no spool, no id, no session or no text\n", stderr);
        return 64;
    }
    char *record = malloc(6 * (strlen(session) + strlen(text)) + 256), *end = record;
    if (!record)
        return 71;
    end += sprintf(end, "{\"id\":\"%s\",\"sessionKey\":", id);
    if (!(end = json(end, session)))
        goto not_utf8;
    end = stpcpy(end, ",\"text\":");
    if (!(end = json(end, text)))
        goto not_utf8;
    end = stpcpy(end, "}\n");
    if (publish(spool, id, record, (size_t)(end - record)) < 0) {
        perror("publish");
        return errno == EEXIST ? 65 : 74;
    }
    free(record);
    return 0;
not_utf8:
    fputs("publish: not UTF-8\n", stderr);
    free(record);
    return 65;
}
