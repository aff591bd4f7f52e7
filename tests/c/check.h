/*
 * Assertions of the C tests. Include it first: it asks for POSIX, which -std=c99 hides.
 *
 * A failed check says where it is, what was expected and what came, and the program goes on. Checks
 * may be made on any thread. A test ends with `return check_done();`.
 */
#ifndef CHECK_H
#define CHECK_H

#ifndef _POSIX_C_SOURCE
#define _POSIX_C_SOURCE 200809L
#endif

#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>


static pthread_mutex_t check_lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned check_passed, check_failed;

static inline void check_record(bool passed, const char *file, int line, const char *what,
                                const char *expected, const char *came)
{
    pthread_mutex_lock(&check_lock);
    if (passed) {
        check_passed++;
    } else {
        check_failed++;
        fprintf(stderr, "%s:%d: %s\n    expected: %s\n    came:     %s\n", file, line, what,
                expected, came);
    }
    pthread_mutex_unlock(&check_lock);
}

static inline void check_true(bool condition, const char *file, int line, const char *what)
{
    check_record(condition, file, line, what, "true", "false");
}

static inline void check_number(long long came, long long expected, const char *file, int line,
                                const char *what)
{
    char numbers[2][32];
    snprintf(numbers[0], sizeof numbers[0], "%lld", expected);
    snprintf(numbers[1], sizeof numbers[1], "%lld", came);
    check_record(came == expected, file, line, what, numbers[0], numbers[1]);
}

static inline void check_text(const char *came, const char *expected, const char *file, int line,
                              const char *what)
{
    bool equal = came != NULL && expected != NULL && strcmp(came, expected) == 0;
    check_record(equal, file, line, what, expected != NULL ? expected : "(NULL)",
                 came != NULL ? came : "(NULL)");
}

static inline void check_contains(const char *came, const char *part, const char *file, int line,
                                  const char *what)
{
    check_record(came != NULL && strstr(came, part) != NULL, file, line, what, part,
                 came != NULL ? came : "(NULL)");
}

#define CHECK(condition) check_true((condition), __FILE__, __LINE__, #condition)
#define CHECK_NUMBER(came, expected) \
    check_number((long long)(came), (long long)(expected), __FILE__, __LINE__, #came)
#define CHECK_TEXT(came, expected) check_text((came), (expected), __FILE__, __LINE__, #came)
#define CHECK_CONTAINS(came, part) check_contains((came), (part), __FILE__, __LINE__, #came)

/* Ends the program: for what a test cannot go on without. */
#define REQUIRE(condition)                                                              \
    do {                                                                                \
        if (!(condition)) {                                                             \
            fprintf(stderr, "%s:%d: can not go on without %s\n", __FILE__, __LINE__, #condition); \
            exit(1);                                                                    \
        }                                                                               \
    } while (0)

/* First in every main: a test that hangs is a test that fails, after a minute or CHECK_PATIENCE_S. */
static inline void check_begin(void)
{
    const char *seconds = getenv("CHECK_PATIENCE_S");
    alarm(seconds != NULL ? (unsigned)atoi(seconds) : 60);
}

static inline int check_done(void)
{
    alarm(0);
    pthread_mutex_lock(&check_lock);
    printf("%u passed, %u failed\n", check_passed, check_failed);
    fflush(stdout);
    int failed = check_failed > 0 || check_passed == 0;
    pthread_mutex_unlock(&check_lock);
    return failed;
}

#endif
