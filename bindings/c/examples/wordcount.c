/*
 * Counts the words of a text file with two components that work together.
 *
 *     wordcount directory-of-components README.md
 *
 * The program sends the text to the component `words`. `words` asks the component `splitter` for the
 * words of each paragraph and adds up the counts in its storage, a table of this program. The log
 * records of the components come to this program too.
 */
#define _POSIX_C_SOURCE 200809L /* nanosleep, strdup */

#include <airssys_wasm.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* The error of the latest failed call. */
static airssys_error_t *error;

/* Exits if a function of the library failed. */
static void must(airssys_status_t status, const char *what)
{
    if (status != AIRSSYS_OK) {
        fprintf(stderr, "cannot %s: %s (%s)\n", what, airssys_error_message(error),
                airssys_status_name(status));
        airssys_error_free(error);
        exit(1);
    }
}

/* malloc that exits when memory runs out. */
static void *allocate(size_t size)
{
    void *memory = malloc(size > 0 ? size : 1);
    if (memory == NULL) {
        perror("malloc");
        exit(1);
    }
    return memory;
}

static void *copy(const void *bytes, size_t len)
{
    return memcpy(allocate(len), bytes, len);
}

/* --- Storage: a list of entries, found by namespace (the calling component) and key. --- */

struct entry {
    char *ns, *key;
    uint8_t *value;
    size_t len;
    struct entry *next;
};

struct table {
    pthread_mutex_t lock; /* Callbacks of different components run in parallel. */
    struct entry *first;
};

/* The link that points to an entry, or the last link of the list. */
static struct entry **find(struct table *table, const char *ns, const char *key)
{
    struct entry **link = &table->first;
    while (*link != NULL && (strcmp((*link)->ns, ns) != 0 || strcmp((*link)->key, key) != 0))
        link = &(*link)->next;
    return link;
}

static void free_entry(struct entry *entry)
{
    free(entry->ns);
    free(entry->key);
    free(entry->value);
    free(entry);
}

/* Each callback must report its result with airssys_writer_finish. */

static void storage_get(void *user_data, const char *ns, const char *key, airssys_writer_t *out)
{
    struct table *table = user_data;
    airssys_storage_result_t result = AIRSSYS_STORAGE_NOT_FOUND;
    pthread_mutex_lock(&table->lock);
    const struct entry *entry = *find(table, ns, key);
    if (entry != NULL) {
        bool written = airssys_writer_write(out, entry->value, entry->len);
        result = written ? AIRSSYS_STORAGE_OK : AIRSSYS_STORAGE_IO_ERROR;
    }
    pthread_mutex_unlock(&table->lock);
    airssys_writer_finish(out, result);
}

static void storage_set(void *user_data, const char *ns, const char *key, const uint8_t *value,
                        size_t len, airssys_writer_t *out)
{
    struct table *table = user_data;
    pthread_mutex_lock(&table->lock);
    struct entry **link = find(table, ns, key);
    if (*link == NULL) {
        *link = allocate(sizeof **link);
        **link = (struct entry){.ns = copy(ns, strlen(ns) + 1), .key = copy(key, strlen(key) + 1)};
    }
    free((*link)->value);
    (*link)->value = copy(value, len);
    (*link)->len = len;
    pthread_mutex_unlock(&table->lock);
    airssys_writer_finish(out, AIRSSYS_STORAGE_OK);
}

static void storage_del(void *user_data, const char *ns, const char *key, airssys_writer_t *out)
{
    struct table *table = user_data;
    pthread_mutex_lock(&table->lock);
    struct entry **link = find(table, ns, key), *entry = *link;
    if (entry != NULL) {
        *link = entry->next;
        free_entry(entry);
    }
    pthread_mutex_unlock(&table->lock);
    airssys_writer_finish(out, AIRSSYS_STORAGE_OK);
}

static void storage_list(void *user_data, const char *ns, const char *prefix, airssys_keys_t *keys,
                         airssys_writer_t *out)
{
    struct table *table = user_data;
    bool pushed = true;
    pthread_mutex_lock(&table->lock);
    for (const struct entry *entry = table->first; entry != NULL; entry = entry->next)
        if (strcmp(entry->ns, ns) == 0 && strncmp(entry->key, prefix, strlen(prefix)) == 0)
            pushed = pushed && airssys_keys_push(keys, entry->key);
    pthread_mutex_unlock(&table->lock);
    airssys_writer_finish(out, pushed ? AIRSSYS_STORAGE_OK : AIRSSYS_STORAGE_IO_ERROR);
}

/* Prints and empties the table. */
static void report(struct table *table)
{
    size_t keys = 0, bytes = 0;
    for (const struct entry *entry = table->first; entry != NULL; entry = entry->next) {
        keys++;
        bytes += strlen(entry->key) + entry->len;
    }
    printf("\nthe host stores %zu keys, %zu bytes, the first of them:\n", keys, bytes);
    for (int shown = 0; table->first != NULL; shown++) {
        struct entry *entry = table->first;
        if (shown < 5)
            printf("  %s  %s = %.*s\n", entry->ns, entry->key, (int)entry->len,
                   (const char *)entry->value);
        table->first = entry->next;
        free_entry(entry);
    }
}

/* --- Log --- */

static void print_record(void *user_data, const airssys_log_record_t *record)
{
    static const char *const levels[] = {"TRACE", "DEBUG", "INFO", "WARN", "ERROR"};
    FILE *file = user_data;
    flockfile(file); /* Keeps the parts of a line together. */
    fprintf(file, "%-5s %s: %.*s", levels[record->level],
            record->component != NULL ? record->component : "engine", (int)record->message_len,
            record->message);
    for (size_t i = 0; i < record->context_len; i++)
        fprintf(file, " %s=%s", record->context_keys[i], record->context_values[i]);
    putc('\n', file);
    funlockfile(file);
}

/* --- The program --- */

static char *read_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        perror(path);
        exit(1);
    }
    char *text = NULL;
    size_t len = 0, got = 1;
    while (got > 0) {
        text = realloc(text, len + 4097);
        if (text == NULL) {
            perror("realloc");
            exit(1);
        }
        got = fread(text + len, 1, 4096, file);
        len += got;
    }
    if (ferror(file)) {
        perror(path);
        exit(1);
    }
    fclose(file);
    text[len] = '\0';
    return text;
}

static uint64_t load(airssys_engine_t *engine, const char *id, const char *directory,
                     const char *name, const char *options)
{
    size_t size = strlen(directory) + strlen(name) + 2;
    char *path = allocate(size);
    snprintf(path, size, "%s/%s", directory, name);
    uint64_t handle = 0;
    must(airssys_engine_load_file(engine, id, path, options, &handle, &error), "load a component");
    free(path);
    return handle;
}

/* Sends a text and returns the reply as text. */
static char *ask(airssys_engine_t *engine, uint64_t handle, const char *question)
{
    airssys_bytes_t reply = {0};
    must(airssys_engine_call(engine, handle, (const uint8_t *)question, strlen(question), NULL,
                             &reply, &error),
         "call a component");
    char *answer = allocate(reply.len + 1); /* A reply has no NUL at its end. */
    memcpy(answer, reply.data != NULL ? (const char *)reply.data : "", reply.len);
    answer[reply.len] = '\0';
    airssys_bytes_free(&reply);
    return answer;
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: %s directory-of-components text-file\n", argv[0]);
        return 2;
    }
    struct table table = {.lock = PTHREAD_MUTEX_INITIALIZER};

    /* The configuration of the engine: our storage, our log. */
    airssys_config_t *config = NULL;
    airssys_storage_t storage = {.size = sizeof storage, .user_data = &table};
    airssys_logger_t logger = {.size = sizeof logger, .user_data = stdout};
    storage.get = storage_get;
    storage.set = storage_set;
    storage.del = storage_del;
    storage.list = storage_list;
    logger.log = print_record;
    logger.min_level = AIRSSYS_LOG_INFO;
    must(airssys_config_new(&config, &error), "make a configuration");
    must(airssys_config_set_storage(config, &storage, &error), "set the storage");
    must(airssys_config_set_logger(config, &logger, &error), "set the logger");

    airssys_engine_t *engine = NULL;
    must(airssys_engine_new(config, &engine, &error), "make an engine");
    airssys_config_free(config);

    /* Each paragraph is a message to `splitter` and a reply to `words`: room for a book. */
    const char *splitter_options = "{\"mailbox\": {\"capacity\": 100000}}";
    /* `splitter` needs no grant: it only replies. `words` may send requests to this one component,
     * and read and write its own storage. */
    const char *words_options = "{\"mailbox\": {\"capacity\": 100000},"
                                " \"capabilities\": {"
                                "   \"messaging\": {\"request\": [\"demo/splitter/0\"]},"
                                "   \"storage\": [\"read\", \"write\"]}}";
    load(engine, "demo/splitter/0", argv[1], "splitter.wasm", splitter_options);
    uint64_t words = load(engine, "demo/words/0", argv[1], "words.wasm", words_options);

    char *text = read_file(argv[2]);
    char *question = allocate(strlen(text) + sizeof "count\n");
    strcat(strcpy(question, "count\n"), text);
    char *answer = ask(engine, words, question);
    printf("%s: %s\n", argv[2], answer);
    free(answer);
    free(question);
    free(text);

    /* `words` counts in the background until its status is like {"chunks":9,"outstanding":0}. */
    for (bool counted = false; !counted;) {
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
        answer = ask(engine, words, "status");
        counted = strstr(answer, "\"outstanding\":0}") != NULL;
        free(answer);
    }

    answer = ask(engine, words, "top 10");
    printf("\nthe most frequent words:\n%s\n", answer);
    free(answer);

    /* Ends the components; waits at most five seconds. */
    must(airssys_engine_shutdown(engine, 5000, &error), "shut the engine down");
    airssys_engine_free(engine);
    report(&table); /* The engine no longer uses the table. */
    return 0;
}
