/* The stored data of components, read, written, exported and imported by the host. */
#include "host.h"

#define ID "app/user/0"

static void check_value(airssys_engine_t *engine, const char *id, const char *key, const char *value)
{
    airssys_bytes_t found = {0};
    CHECK_OK(airssys_engine_storage_get(engine, id, key, &found, NULL));
    if (value == NULL) {
        CHECK(found.data == NULL);
    } else {
        CHECK(found.data != NULL && found.len == strlen(value));
        CHECK(found.data != NULL && memcmp(found.data, value, found.len) == 0);
    }
    airssys_bytes_free(&found);
}

static airssys_status_t put(airssys_engine_t *engine, const char *key, const char *value)
{
    return airssys_engine_storage_set(engine, ID, key, (const uint8_t *)value, strlen(value), 0, NULL);
}

static void reading_and_writing(void)
{
    airssys_engine_t *engine = silent_engine(new_config());
    CHECK_OK(put(engine, "seed", "planted"));
    CHECK_OK(airssys_engine_storage_set(engine, ID, "empty", NULL, 0, 0, NULL));
    check_value(engine, ID, "seed", "planted");
    check_value(engine, ID, "empty", "");
    check_value(engine, ID, "missing", NULL);
    check_value(engine, "app/other/0", "seed", NULL);
    uint64_t user = 0;
    char path[4096];
    CHECK_OK(airssys_engine_load_file(engine, ID, guest_path("storage-user", path, sizeof path), NULL,
                                      &user, NULL));
    CHECK_REPLY(engine, user, "get seed", "planted");
    CHECK_REPLY(engine, user, "set guest v", "ok");
    check_value(engine, ID, "guest", "v");

    uint64_t bytes = 0, keys = 0;
    CHECK_OK(airssys_engine_storage_usage(engine, ID, &bytes, &keys, NULL));
    CHECK_NUMBER(bytes, 4 + 7 + 5 + 5 + 1);
    CHECK_NUMBER(keys, 3);
    airssys_bytes_t list = {0};
    CHECK_OK(airssys_engine_storage_list(engine, ID, NULL, "empty", 1, &list, NULL));
    CHECK_TEXT((const char *)list.data, "{\"keys\":[\"guest\"],\"more\":true}");
    airssys_bytes_free(&list);

    airssys_storage_change_t changes[3];
    memset(changes, 0, sizeof changes);
    for (size_t i = 0; i < 3; i++)
        changes[i].size = sizeof changes[i];
    changes[0].key = "seed"; /* removed */
    changes[1].key = "guest";
    changes[1].value = (const uint8_t *)"changed";
    changes[1].value_len = 7;
    changes[2].key = "over";
    changes[2].value = (const uint8_t *)"v";
    changes[2].value_len = 1;
    changes[2].expires_ms = 1;
    CHECK_OK(airssys_engine_storage_batch(engine, ID, changes, 3, NULL));
    CHECK_REPLY(engine, user, "exists seed", "false");
    CHECK_REPLY(engine, user, "get guest", "changed");
    check_value(engine, ID, "over", NULL);
    CHECK_OK(airssys_engine_storage_delete(engine, ID, "guest", NULL));
    CHECK_OK(airssys_engine_storage_delete(engine, ID, "guest", NULL));
    CHECK_REPLY(engine, user, "list", "empty");

    CHECK_STATUS(airssys_engine_storage_get(engine, "app", "k", &list, NULL), AIRSSYS_ERROR_INVALID_ID);
    CHECK_STATUS(put(engine, "", "v"), AIRSSYS_ERROR_INVALID_ARGUMENT);
    CHECK_STATUS(airssys_engine_storage_get(engine, ID, NULL, &list, NULL),
                 AIRSSYS_ERROR_INVALID_ARGUMENT);
    CHECK_STATUS(airssys_engine_storage_batch(engine, ID, NULL, 1, NULL),
                 AIRSSYS_ERROR_INVALID_ARGUMENT);
    CHECK_STATUS(airssys_engine_storage_usage(NULL, ID, &bytes, &keys, NULL),
                 AIRSSYS_ERROR_INVALID_ARGUMENT);
    airssys_engine_free(engine);
}

/* An export in memory. */
struct text {
    char *data;
    size_t len, read;
    bool fails;
};

static void write_piece(void *user_data, const uint8_t *data, size_t len, airssys_writer_t *out)
{
    struct text *text = user_data;
    if (text->fails) {
        CHECK(airssys_writer_write(out, (const uint8_t *)"the disk is full", 16));
        airssys_writer_finish(out, AIRSSYS_ERROR_IO);
        return;
    }
    text->data = realloc(text->data, text->len + len);
    REQUIRE(text->data != NULL);
    memcpy(text->data + text->len, data, len);
    text->len += len;
    airssys_writer_finish(out, AIRSSYS_OK);
}

static void read_piece(void *user_data, airssys_writer_t *out)
{
    struct text *text = user_data;
    size_t left = text->len - text->read, len = left < 1000 ? left : 1000;
    CHECK(airssys_writer_write(out, (const uint8_t *)text->data + text->read, len));
    text->read += len;
    airssys_writer_finish(out, AIRSSYS_OK);
}

static void transfer(void)
{
    airssys_engine_t *from = engine_with(NULL), *to = engine_with(NULL);
    char key[16];
    for (int i = 0; i < 3000; i++) {
        snprintf(key, sizeof key, "key %d", i);
        CHECK_OK(put(from, key, key));
    }
    struct text text = {0};
    CHECK_OK(airssys_engine_storage_export(from, NULL, 0, write_piece, &text, NULL));
    REQUIRE(text.len > 100);
    CHECK(memcmp(text.data, "airssys-storage-export 1\nnamespace app/user/0\n", 46) == 0);

    airssys_bytes_t report = {0};
    airssys_error_t *error = NULL;
    CHECK_OK(airssys_engine_storage_import(to, AIRSSYS_IMPORT_REFUSE, read_piece, &text, &report, NULL));
    CHECK_CONTAINS((const char *)report.data, "\"stored\":3000");
    airssys_bytes_free(&report);
    check_value(to, ID, "key 2999", "key 2999");

    text.read = 0;
    CHECK_STATUS(airssys_engine_storage_import(to, AIRSSYS_IMPORT_REFUSE, read_piece, &text, &report, &error),
                 AIRSSYS_ERROR_INVALID_ARGUMENT);
    CHECK_TEXT(airssys_error_message(error), "line 3: the key \"key 0\" of app/user/0 exists");
    airssys_error_free(error);
    error = NULL;

    text.read = 0;
    text.len -= 100;
    CHECK_STATUS(airssys_engine_storage_import(to, AIRSSYS_IMPORT_CHECK, read_piece, &text, &report, &error),
                 AIRSSYS_ERROR_INVALID_ARGUMENT);
    CHECK_CONTAINS(airssys_error_message(error), "it was cut off");
    airssys_error_free(error);
    error = NULL;

    const char *names[] = {"app/none/0", ID};
    text.fails = true;
    CHECK_STATUS(airssys_engine_storage_export(from, names, 2, write_piece, &text, &error), AIRSSYS_ERROR_IO);
    CHECK_CONTAINS(airssys_error_message(error), "the disk is full");
    airssys_error_free(error);
    names[0] = "app/*/0";
    CHECK_STATUS(airssys_engine_storage_export(from, names, 2, write_piece, &text, NULL),
                 AIRSSYS_ERROR_INVALID_ID);
    CHECK_STATUS(airssys_engine_storage_export(from, NULL, 0, NULL, NULL, NULL),
                 AIRSSYS_ERROR_INVALID_ARGUMENT);
    free(text.data);
    airssys_engine_free(from);
    airssys_engine_free(to);
}

/* A storage with room for nothing. */
static void get(void *user_data, const char *ns, const char *key, airssys_writer_t *out)
{
    (void)user_data, (void)ns, (void)key;
    airssys_writer_finish(out, AIRSSYS_STORAGE_NOT_FOUND);
}

static void set(void *user_data, const char *ns, const char *key, const uint8_t *value, size_t len,
                airssys_writer_t *out)
{
    (void)user_data, (void)ns, (void)key, (void)value, (void)len;
    airssys_writer_finish(out, AIRSSYS_STORAGE_OK);
}

static void list(void *user_data, const char *ns, const char *prefix, airssys_keys_t *keys,
                 airssys_writer_t *out)
{
    (void)user_data, (void)ns, (void)prefix, (void)keys;
    airssys_writer_finish(out, AIRSSYS_STORAGE_OK);
}

static void selftest(void)
{
    airssys_storage_t storage = {0};
    airssys_bytes_t report = {0};
    airssys_error_t *error = NULL;
    storage.size = sizeof storage;
    storage.get = get;
    storage.set = set;
    storage.del = get;
    storage.list = list;
    CHECK_STATUS(airssys_storage_selftest(&storage, 0, &report, &error), AIRSSYS_ERROR_NOT_CONFORMING);
    CHECK(report.data == NULL);
    const char *message = airssys_error_message(error);
    CHECK_CONTAINS(message, "\n\nreplace: set replaces an older value");
    CHECK_CONTAINS(message, "expected: \"first\"\n    found:    no value");
    CHECK_CONTAINS(message, "\n\nempty-value: ");
    CHECK_CONTAINS(airssys_error_detail_json(error), "\"conforms\":false");
    airssys_error_free(error);
    storage.flags = 6;
    CHECK_STATUS(airssys_storage_selftest(&storage, 0, &report, NULL), AIRSSYS_ERROR_INVALID_ARGUMENT);
    CHECK_STATUS(airssys_storage_selftest(NULL, 0, &report, NULL), AIRSSYS_ERROR_INVALID_ARGUMENT);
}

int main(void)
{
    check_begin();
    reading_and_writing();
    transfer();
    selftest();
    return check_done();
}
