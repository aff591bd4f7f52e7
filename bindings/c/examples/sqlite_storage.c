/*
 * A storage in SQLite: components keep their data in a file that any SQLite program can read.
 *
 *     sqlite_storage data.db [component.wasm message]
 *
 * The program checks its storage with `airssys_storage_selftest`, which is worth doing for every
 * storage. With a component, it then sends it a message, and the component has its data in the file.
 */
#include <airssys_wasm.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One connection. The library makes one call at a time (AIRSSYS_STORAGE_SERIALIZE), so that the
 * statements need no lock. */
struct store {
    sqlite3 *db;
    sqlite3_stmt *get, *set, *del, *list, *exists, *usage, *namespaces;
};

/* Text is compared by its bytes (BINARY), so keys that differ in case or in Unicode form differ. */
static const char schema[] =
    "CREATE TABLE IF NOT EXISTS entries ("
    "  namespace TEXT NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL,"
    "  PRIMARY KEY (namespace, key)) WITHOUT ROWID;";

/* Finishes a callback: with SQLite's error text if there was an error. */
static void finish(struct store *store, airssys_writer_t *out, int code, airssys_storage_result_t ok)
{
    if (code == SQLITE_ROW || code == SQLITE_DONE) {
        airssys_writer_finish(out, ok);
        return;
    }
    const char *text = sqlite3_errmsg(store->db);
    airssys_writer_write(out, (const uint8_t *)text, strlen(text));
    airssys_writer_finish(out, code == SQLITE_FULL ? AIRSSYS_STORAGE_QUOTA_EXCEEDED
                                                   : AIRSSYS_STORAGE_IO_ERROR);
}

/* Binds namespace and key; the texts live until the statement is reset. */
static sqlite3_stmt *bound(sqlite3_stmt *statement, const char *ns, const char *key)
{
    sqlite3_bind_text(statement, 1, ns, -1, SQLITE_STATIC);
    if (key != NULL)
        sqlite3_bind_text(statement, 2, key, -1, SQLITE_STATIC);
    return statement;
}

static int set_value(struct store *store, const char *ns, const char *key, const uint8_t *value,
                     size_t len)
{
    sqlite3_stmt *set = bound(store->set, ns, key);
    sqlite3_bind_blob64(set, 3, value, len, SQLITE_STATIC); /* not NULL: 0 bytes are no NULL */
    int code = sqlite3_step(set);
    sqlite3_reset(set);
    return code;
}

static int remove_key(struct store *store, const char *ns, const char *key)
{
    int code = sqlite3_step(bound(store->del, ns, key));
    sqlite3_reset(store->del);
    return code;
}

static void get(void *user_data, const char *ns, const char *key, airssys_writer_t *out)
{
    struct store *store = user_data;
    int code = sqlite3_step(bound(store->get, ns, key));
    if (code == SQLITE_ROW)
        airssys_writer_write(out, sqlite3_column_blob(store->get, 0),
                             (size_t)sqlite3_column_bytes(store->get, 0));
    finish(store, out, code, code == SQLITE_ROW ? AIRSSYS_STORAGE_OK : AIRSSYS_STORAGE_NOT_FOUND);
    sqlite3_reset(store->get);
}

static void set(void *user_data, const char *ns, const char *key, const uint8_t *value, size_t len,
                airssys_writer_t *out)
{
    struct store *store = user_data;
    finish(store, out, set_value(store, ns, key, value, len), AIRSSYS_STORAGE_OK);
}

static void del(void *user_data, const char *ns, const char *key, airssys_writer_t *out)
{
    struct store *store = user_data;
    finish(store, out, remove_key(store, ns, key), AIRSSYS_STORAGE_OK);
}

/* Pushes the first column of all rows. */
static void push_all(struct store *store, sqlite3_stmt *statement, airssys_keys_t *keys,
                     airssys_writer_t *out)
{
    int code;
    while ((code = sqlite3_step(statement)) == SQLITE_ROW)
        if (!airssys_keys_push(keys, (const char *)sqlite3_column_text(statement, 0)))
            break; /* the library has refused it, and remembers that */
    finish(store, out, code, AIRSSYS_STORAGE_OK);
    sqlite3_reset(statement);
}

static void list(void *user_data, const char *ns, const char *prefix, airssys_keys_t *keys,
                 airssys_writer_t *out)
{
    struct store *store = user_data;
    push_all(store, bound(store->list, ns, prefix), keys, out);
}

static void namespaces(void *user_data, airssys_keys_t *names, airssys_writer_t *out)
{
    struct store *store = user_data;
    push_all(store, store->namespaces, names, out);
}

static void exists(void *user_data, const char *ns, const char *key, bool *found,
                   airssys_writer_t *out)
{
    struct store *store = user_data;
    int code = sqlite3_step(bound(store->exists, ns, key));
    *found = code == SQLITE_ROW;
    finish(store, out, code, AIRSSYS_STORAGE_OK);
    sqlite3_reset(store->exists);
}

static void usage(void *user_data, const char *ns, uint64_t *bytes, uint64_t *keys,
                  airssys_writer_t *out)
{
    struct store *store = user_data;
    int code = sqlite3_step(bound(store->usage, ns, NULL));
    if (code == SQLITE_ROW) {
        *bytes = (uint64_t)sqlite3_column_int64(store->usage, 0);
        *keys = (uint64_t)sqlite3_column_int64(store->usage, 1);
    }
    finish(store, out, code, AIRSSYS_STORAGE_OK);
    sqlite3_reset(store->usage);
}

/* All changes in one transaction. */
static void batch(void *user_data, const char *ns, const airssys_storage_batch_t *batch,
                  airssys_writer_t *out)
{
    struct store *store = user_data;
    int code = sqlite3_exec(store->db, "BEGIN IMMEDIATE", NULL, NULL, NULL);
    if (code == SQLITE_OK)
        code = SQLITE_DONE;
    for (size_t i = 0; i < batch->count && code == SQLITE_DONE; i++) {
        const airssys_storage_change_t *change = batch->changes[i];
        code = change->value != NULL
                   ? set_value(store, ns, change->key, change->value, change->value_len)
                   : remove_key(store, ns, change->key);
    }
    if (code == SQLITE_DONE && sqlite3_exec(store->db, "COMMIT", NULL, NULL, NULL) != SQLITE_OK)
        code = sqlite3_errcode(store->db);
    finish(store, out, code, AIRSSYS_STORAGE_OK);
    if (!sqlite3_get_autocommit(store->db))
        sqlite3_exec(store->db, "ROLLBACK", NULL, NULL, NULL);
}

static void close_store(void *user_data)
{
    struct store *store = user_data;
    sqlite3_stmt *statements[] = {store->get,    store->set,   store->del,       store->list,
                                  store->exists, store->usage, store->namespaces};
    for (size_t i = 0; i < sizeof statements / sizeof *statements; i++)
        sqlite3_finalize(statements[i]);
    sqlite3_close(store->db);
}

static bool prepare(struct store *store, sqlite3_stmt **statement, const char *sql)
{
    return sqlite3_prepare_v3(store->db, sql, -1, SQLITE_PREPARE_PERSISTENT, statement, NULL) ==
           SQLITE_OK;
}

static bool open_store(struct store *store, const char *path)
{
    memset(store, 0, sizeof *store);
    return sqlite3_open(path, &store->db) == SQLITE_OK &&
           /* A power failure may cost the latest writes; "synchronous = FULL" keeps them, slowly. */
           sqlite3_exec(store->db, "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL", NULL,
                        NULL, NULL) == SQLITE_OK &&
           sqlite3_exec(store->db, schema, NULL, NULL, NULL) == SQLITE_OK &&
           prepare(store, &store->get, "SELECT value FROM entries WHERE namespace = ?1 AND key = ?2") &&
           prepare(store, &store->set, "INSERT INTO entries VALUES (?1, ?2, ?3)"
                                       " ON CONFLICT DO UPDATE SET value = excluded.value") &&
           prepare(store, &store->del, "DELETE FROM entries WHERE namespace = ?1 AND key = ?2") &&
           /* Not LIKE or GLOB: a prefix is text, and may contain their wildcards. */
           prepare(store, &store->list, "SELECT key FROM entries WHERE namespace = ?1 AND key >= ?2"
                                        " AND substr(key, 1, length(?2)) = ?2") &&
           prepare(store, &store->exists, "SELECT 1 FROM entries WHERE namespace = ?1 AND key = ?2") &&
           /* The length of a text is in characters, that of a blob in bytes. */
           prepare(store, &store->usage,
                   "SELECT coalesce(sum(length(CAST(key AS BLOB)) + length(value)), 0), count(*)"
                   " FROM entries WHERE namespace = ?1") &&
           prepare(store, &store->namespaces, "SELECT DISTINCT namespace FROM entries");
}

/* Ends the program with the error of the library. */
static int fail(const char *what, airssys_error_t *error)
{
    fprintf(stderr, "%s: %s\n", what, airssys_error_message(error));
    airssys_error_free(error);
    return 1;
}

static int run(const airssys_storage_t *storage, const char *component, const char *message)
{
    airssys_config_t *config = NULL;
    airssys_engine_t *engine = NULL;
    airssys_error_t *error = NULL;
    airssys_bytes_t reply = {0};
    uint64_t handle = 0;
    int result = 0;
    if (airssys_config_new(&config, &error) != AIRSSYS_OK ||
        airssys_config_set_storage(config, storage, &error) != AIRSSYS_OK ||
        airssys_engine_new(config, &engine, &error) != AIRSSYS_OK ||
        airssys_engine_load_file(engine, "demo/user/0", component,
                                 "{\"capabilities\": {\"storage\": [\"read\", \"write\", \"delete\"]}}",
                                 &handle, &error) != AIRSSYS_OK ||
        airssys_engine_call(engine, handle, (const uint8_t *)message, strlen(message), NULL, &reply,
                            &error) != AIRSSYS_OK)
        result = fail(component, error);
    else
        printf("%.*s\n", (int)reply.len, reply.data != NULL ? (const char *)reply.data : "");
    airssys_bytes_free(&reply);
    airssys_engine_free(engine);
    airssys_config_free(config); /* the last owner of the storage: calls `drop`, which closes it */
    return result;
}

int main(int argc, char **argv)
{
    if (argc != 2 && argc != 4) {
        fprintf(stderr, "usage: %s data.db [component.wasm message]\n", argv[0]);
        return 2;
    }
    struct store store;
    if (!open_store(&store, argv[1])) {
        fprintf(stderr, "%s: %s\n", argv[1], sqlite3_errmsg(store.db));
        close_store(&store);
        return 1;
    }
    airssys_storage_t storage = {0};
    storage.size = sizeof storage;
    storage.user_data = &store;
    storage.drop = close_store;
    storage.flags = AIRSSYS_STORAGE_SERIALIZE;
    storage.get = get;
    storage.set = set;
    storage.del = del;
    storage.list = list;
    storage.exists = exists;
    storage.usage = usage;
    storage.batch = batch;
    storage.namespaces = namespaces;

    airssys_error_t *error = NULL;
    airssys_bytes_t report = {0};
    if (airssys_storage_selftest(&storage, 0, &report, &error) != AIRSSYS_OK) {
        close_store(&store); /* the check does not call `drop` */
        return fail("the storage", error);
    }
    airssys_bytes_free(&report);
    printf("the storage breaks no rule\n");
    if (argc == 4)
        return run(&storage, argv[2], argv[3]);
    close_store(&store);
    return 0;
}
