/* The host's storage: arguments and answers of the callbacks, and when user_data is dropped. */
#include "host.h"

#define ROOM 32

/* A store that a test controls. */
struct store {
    pthread_mutex_t lock;
    struct {
        char ns[64], key[64];
        uint8_t value[64];
        size_t len;
        bool used;
    } entries[ROOM];
    /* The answer of every callback and its text; AIRSSYS_STORAGE_OK: the store answers. */
    airssys_storage_result_t forced;
    const char *text;
    unsigned gets, exists_calls, usage_calls, drops;
    bool value_was_null, mute;
};

static bool force(struct store *store, airssys_writer_t *out)
{
    if (store->forced == AIRSSYS_STORAGE_OK)
        return false;
    if (store->text != NULL)
        CHECK(airssys_writer_write(out, (const uint8_t *)store->text, strlen(store->text)));
    return true;
}

/* Finishes with a result, unless the test is about a missing one. */
static void answer(const struct store *store, airssys_writer_t *out, airssys_storage_result_t result)
{
    if (!store->mute)
        airssys_writer_finish(out, result);
}

static int find(const struct store *store, const char *ns, const char *key)
{
    for (int i = 0; i < ROOM; i++)
        if (store->entries[i].used && strcmp(store->entries[i].ns, ns) == 0 &&
            strcmp(store->entries[i].key, key) == 0)
            return i;
    return -1;
}

static void get(void *user_data, const char *ns, const char *key,
                airssys_writer_t *out)
{
    struct store *store = user_data;
    airssys_storage_result_t result = AIRSSYS_STORAGE_NOT_FOUND;
    pthread_mutex_lock(&store->lock);
    store->gets++;
    int i = find(store, ns, key);
    if (force(store, out)) {
        result = store->forced;
    } else if (i >= 0) {
        /* In two pieces: a writer appends. */
        size_t half = store->entries[i].len / 2;
        CHECK(airssys_writer_write(out, store->entries[i].value, half));
        CHECK(airssys_writer_write(out, NULL, 0));
        CHECK(airssys_writer_write(out, store->entries[i].value + half,
                                   store->entries[i].len - half));
        result = AIRSSYS_STORAGE_OK;
    }
    pthread_mutex_unlock(&store->lock);
    answer(store, out, result);
}

static void set(void *user_data, const char *ns, const char *key,
                const uint8_t *value, size_t len, airssys_writer_t *out)
{
    struct store *store = user_data;
    airssys_storage_result_t result = AIRSSYS_STORAGE_OK;
    pthread_mutex_lock(&store->lock);
    store->value_was_null = store->value_was_null || value == NULL;
    int i = find(store, ns, key);
    if (force(store, out)) {
        result = store->forced;
    } else {
        for (int j = 0; i < 0 && j < ROOM; j++)
            if (!store->entries[j].used)
                i = j;
        if (i < 0 || len > sizeof store->entries[i].value) {
            result = AIRSSYS_STORAGE_QUOTA_EXCEEDED;
        } else {
            store->entries[i].used = true;
            snprintf(store->entries[i].ns, sizeof store->entries[i].ns, "%s", ns);
            snprintf(store->entries[i].key, sizeof store->entries[i].key, "%s", key);
            if (len > 0)
                memcpy(store->entries[i].value, value, len);
            store->entries[i].len = len;
        }
    }
    pthread_mutex_unlock(&store->lock);
    answer(store, out, result);
}

static void del(void *user_data, const char *ns, const char *key,
                airssys_writer_t *out)
{
    struct store *store = user_data;
    airssys_storage_result_t result = AIRSSYS_STORAGE_OK;
    pthread_mutex_lock(&store->lock);
    int i = find(store, ns, key);
    if (force(store, out))
        result = store->forced;
    else if (i >= 0)
        store->entries[i].used = false;
    else
        result = AIRSSYS_STORAGE_NOT_FOUND;
    pthread_mutex_unlock(&store->lock);
    answer(store, out, result);
}

/* Pushes every key regardless of the prefix, in reverse and twice: the library sorts and filters. */
static void list(void *user_data, const char *ns, const char *prefix,
                 airssys_keys_t *keys, airssys_writer_t *out)
{
    struct store *store = user_data;
    airssys_storage_result_t result = AIRSSYS_STORAGE_OK;
    (void)prefix;
    pthread_mutex_lock(&store->lock);
    if (force(store, out)) {
        result = store->forced;
    } else {
        for (int i = ROOM - 1; i >= 0; i--)
            if (store->entries[i].used && strcmp(store->entries[i].ns, ns) == 0) {
                CHECK(airssys_keys_push(keys, store->entries[i].key));
                CHECK(airssys_keys_push(keys, store->entries[i].key));
            }
    }
    pthread_mutex_unlock(&store->lock);
    answer(store, out, result);
}

static void exists(void *user_data, const char *ns, const char *key,
                   bool *found, airssys_writer_t *out)
{
    struct store *store = user_data;
    airssys_storage_result_t result = AIRSSYS_STORAGE_OK;
    pthread_mutex_lock(&store->lock);
    store->exists_calls++;
    if (force(store, out))
        result = store->forced;
    else
        *found = find(store, ns, key) >= 0;
    pthread_mutex_unlock(&store->lock);
    answer(store, out, result);
}

static void usage(void *user_data, const char *ns, uint64_t *bytes,
                  uint64_t *keys, airssys_writer_t *out)
{
    struct store *store = user_data;
    airssys_storage_result_t result = AIRSSYS_STORAGE_OK;
    (void)ns;
    pthread_mutex_lock(&store->lock);
    store->usage_calls++;
    if (force(store, out)) {
        result = store->forced;
    } else {
        *bytes = 12345;
        *keys = 67;
    }
    pthread_mutex_unlock(&store->lock);
    answer(store, out, result);
}

static void drop(void *user_data)
{
    struct store *store = user_data;
    pthread_mutex_lock(&store->lock);
    store->drops++;
    pthread_mutex_unlock(&store->lock);
}

static airssys_storage_t table_of(struct store *store, bool optional)
{
    airssys_storage_t storage = {0};
    storage.size = sizeof storage;
    storage.user_data = store;
    storage.drop = drop;
    storage.get = get;
    storage.set = set;
    storage.del = del;
    storage.list = list;
    if (optional) {
        storage.exists = exists;
        storage.usage = usage;
    }
    return storage;
}

static struct store *new_store(void)
{
    struct store *store = calloc(1, sizeof *store);
    REQUIRE(store != NULL && pthread_mutex_init(&store->lock, NULL) == 0);
    return store;
}

static airssys_engine_t *engine_on(struct store *store, bool optional)
{
    airssys_config_t *config = new_config();
    CHECK_OK(airssys_config_set_json(config, "{\"host-error-texts\": true}", NULL));
    airssys_storage_t storage = table_of(store, optional);
    REQUIRE(airssys_config_set_storage(config, &storage, NULL) == AIRSSYS_OK);
    memset(&storage, 0xff, sizeof storage); /* The library has copied it. */
    airssys_engine_t *engine = engine_with(config);
    airssys_config_free(config);
    return engine;
}

static void operations(bool optional)
{
    struct store *store = new_store();
    airssys_engine_t *engine = engine_on(store, optional);
    uint64_t one = load_as(engine, "shop/cart/1", "storage-user", NULL);
    uint64_t two = load_as(engine, "shop/cart/2", "storage-user", NULL);
    airssys_bytes_t reply = {0};

    CHECK_REPLY(engine, one, "set apple red", "ok");
    CHECK_REPLY(engine, one, "set apricot orange", "ok");
    CHECK_REPLY(engine, one, "set banana yellow", "ok");
    CHECK_REPLY(engine, two, "set apple green", "ok");
    CHECK(find(store, "shop/cart/1", "apple") >= 0);
    CHECK(find(store, "shop/cart/2", "apple") >= 0);
    CHECK_REPLY(engine, one, "get apple", "red");
    CHECK_REPLY(engine, two, "get apple", "green");
    CHECK_REPLY(engine, one, "list ap", "apple\napricot");
    CHECK_REPLY(engine, one, "list", "apple\napricot\nbanana");
    CHECK_REPLY(engine, two, "list", "apple");

    /* NOT_FOUND is no value, and OK with nothing written is an empty one. */
    CHECK_OK(call(engine, one, "get cherry", &reply, NULL));
    CHECK(reply.data == NULL);
    CHECK_REPLY(engine, one, "fill empty 0", "ok");
    CHECK(!store->value_was_null);
    CHECK_OK(call(engine, one, "get empty", &reply, NULL));
    CHECK(reply.data != NULL);
    CHECK_NUMBER(reply.len, 0);
    airssys_bytes_free(&reply);

    unsigned gets = store->gets;
    CHECK_REPLY(engine, one, "exists apple", "true");
    CHECK_REPLY(engine, one, "exists cherry", "false");
    CHECK_NUMBER(store->exists_calls, optional ? 2 : 0);
    CHECK_NUMBER(store->gets - gets, optional ? 0 : 2);

    /* Four keys with their values: 5+3, 7+6, 6+6, 5+0. */
    CHECK_REPLY(engine, one, "usage",
                optional ? "12345 18446744073709551615 67" : "38 18446744073709551615 4");
    CHECK_NUMBER(store->usage_calls, optional ? 1 : 0);

    /* A missing key is not an error, and neither is NOT_FOUND. */
    CHECK_REPLY(engine, one, "delete apple", "ok");
    CHECK_REPLY(engine, one, "delete apple", "ok");
    CHECK(find(store, "shop/cart/1", "apple") < 0);
    CHECK(find(store, "shop/cart/2", "apple") >= 0);

    /* Stored values survive an unload under their id. */
    CHECK_OK(airssys_engine_unload(engine, one, NULL));
    one = load_as(engine, "shop/cart/1", "storage-user", NULL);
    CHECK_REPLY(engine, one, "get banana", "yellow");

    airssys_engine_free(engine);
    CHECK_NUMBER(store->drops, 1);
    free(store);
}

/* Each error of each callback reaches the component, with its text. */
static void errors(void)
{
    static const char *const commands[] = {"get k", "set k v", "delete k", "exists k", "list",
                                           "usage"};
    struct store *store = new_store();
    airssys_engine_t *engine = engine_on(store, true);
    uint64_t user = load(engine, "storage-user");
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        store->text = "disk on fire";
        store->forced = AIRSSYS_STORAGE_IO_ERROR;
        CHECK_REPLY(engine, user, commands[i], "error: io-error(disk on fire)");
        store->forced = AIRSSYS_STORAGE_INVALID_KEY;
        CHECK_REPLY(engine, user, commands[i], "error: invalid-key(disk on fire)");
        store->forced = AIRSSYS_STORAGE_QUOTA_EXCEEDED;
        CHECK_REPLY(engine, user, commands[i], "error: quota-exceeded");

        /* Invalid UTF-8 is replaced, not passed on. */
        store->text = "\xff!";
        store->forced = AIRSSYS_STORAGE_IO_ERROR;
        CHECK_REPLY(engine, user, commands[i], "error: io-error(\xef\xbf\xbd!)");

        /* No text, and results that do not exist. */
        store->text = NULL;
        airssys_bytes_t reply = {0};
        CHECK_OK(call(engine, user, commands[i], &reply, NULL));
        CHECK(reply.len > 16 && memcmp(reply.data, "error: io-error(", 16) == 0);
        airssys_bytes_free(&reply);
        store->forced = 99;
        CHECK_OK(call(engine, user, commands[i], &reply, NULL));
        CHECK(reply.len > 16 && memcmp(reply.data, "error: io-error(", 16) == 0);
        airssys_bytes_free(&reply);
    }

    /* A callback without a result fails, whatever it wrote. */
    store->forced = AIRSSYS_STORAGE_OK;
    CHECK_REPLY(engine, user, "set k v", "ok");
    store->mute = true;
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        airssys_bytes_t reply = {0};
        CHECK_OK(call(engine, user, commands[i], &reply, NULL));
        CHECK(reply.len > 16 && memcmp(reply.data, "error: io-error(", 16) == 0);
        airssys_bytes_free(&reply);
    }
    store->mute = false;

    /* The component and its engine still work. */
    store->forced = AIRSSYS_STORAGE_OK;
    CHECK_REPLY(engine, user, "set k v", "ok");
    CHECK_REPLY(engine, user, "get k", "v");
    airssys_engine_free(engine);
    free(store);
}

/* By default the host's error texts go only to its log. */
static void silent_errors(void)
{
    struct store *store = new_store();
    airssys_config_t *config = new_config();
    airssys_storage_t storage = table_of(store, true);
    CHECK_OK(airssys_config_set_storage(config, &storage, NULL));
    airssys_engine_t *engine = engine_with(config);
    airssys_config_free(config);
    uint64_t user = load(engine, "storage-user");
    store->text = "disk on fire";
    store->forced = AIRSSYS_STORAGE_IO_ERROR;
    CHECK_REPLY(engine, user, "get k", "error: io-error(the host's storage failed)");
    store->forced = AIRSSYS_STORAGE_INVALID_KEY;
    CHECK_REPLY(engine, user, "set k v",
                "error: invalid-key(the host's storage refused it)");
    airssys_engine_free(engine);
    free(store);
}

/* Bad keys are refused before the host sees them. */
static void bad_keys(void)
{
    struct store *store = new_store();
    airssys_engine_t *engine = engine_on(store, false);
    uint64_t user = load(engine, "storage-user");
    airssys_bytes_t reply = {0};
    char command[1200];

    CHECK_REPLY(engine, user, "set-hex 610062 v", "error: invalid-key(\"a\\0b\" contains NUL)");
    snprintf(command, sizeof command, "set %01025d v", 0);
    CHECK_OK(call(engine, user, command, &reply, NULL));
    CHECK(reply.len > 19 && memcmp(reply.data, "error: invalid-key(", 19) == 0);
    airssys_bytes_free(&reply);
    for (int i = 0; i < ROOM; i++)
        CHECK(!store->entries[i].used);
    airssys_engine_free(engine);
    free(store);
}

static bool first_fits, second_fits;

static void get_too_much(void *user_data, const char *ns, const char *key,
                         airssys_writer_t *out)
{
    (void)ns, (void)key;
    /* Never read: the library refuses by the length alone. */
    first_fits = airssys_writer_write(out, user_data, ((size_t)256 << 20) + 1);
    second_fits = airssys_writer_write(out, (const uint8_t *)"small", 5);
    airssys_writer_finish(out, AIRSSYS_STORAGE_IO_ERROR); /* The last one counts. */
    airssys_writer_finish(out, AIRSSYS_STORAGE_OK);
}

static const char *bad_key;

static void list_bad_key(void *user_data, const char *ns, const char *prefix,
                         airssys_keys_t *keys, airssys_writer_t *out)
{
    (void)user_data, (void)ns, (void)prefix;
    CHECK(airssys_keys_push(keys, "good"));
    CHECK(!airssys_keys_push(keys, bad_key));
    airssys_writer_finish(out, AIRSSYS_STORAGE_OK);
}

static void impossible_keys(void)
{
    const char *bad[] = {NULL, "not \xff UTF-8"};
    struct store *store = new_store();
    airssys_config_t *config = new_config();
    airssys_storage_t storage = {0};
    storage.size = sizeof storage;
    storage.user_data = store;
    storage.get = get;
    storage.set = set;
    storage.del = del;
    storage.list = list_bad_key;
    CHECK_OK(airssys_config_set_storage(config, &storage, NULL));
    airssys_engine_t *engine = engine_with(config);
    airssys_config_free(config);
    uint64_t user = load(engine, "storage-user");
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        bad_key = bad[i];
        CHECK_REPLY(engine, user, "list", "error: io-error(the host's list gave an impossible key)");
    }
    airssys_engine_free(engine);
    free(store);
}

static void too_much(void)
{
    uint8_t *large = calloc(((size_t)256 << 20) + 1, 1);
    REQUIRE(large != NULL);
    airssys_config_t *config = new_config();
    airssys_storage_t storage = {0};
    storage.size = sizeof storage;
    storage.user_data = large;
    storage.get = get_too_much;
    storage.set = set;
    storage.del = del;
    storage.list = list;
    CHECK_OK(airssys_config_set_storage(config, &storage, NULL));
    airssys_engine_t *engine = engine_with(config);
    airssys_config_free(config);
    uint64_t user = load(engine, "storage-user");
    /* A host that ignores the refusal must not return a part of the value as the whole. */
    const char expected[] = "error: io-error(the host's get gave more than ";
    airssys_bytes_t reply = {0};
    CHECK_OK(airssys_engine_call(engine, user, (const uint8_t *)"get k", 5, NULL, &reply, NULL));
    REQUIRE(reply.len > sizeof expected);
    CHECK(memcmp(reply.data, expected, sizeof expected - 1) == 0);
    airssys_bytes_free(&reply);
    CHECK(!first_fits);
    CHECK(!second_fits);
    airssys_engine_free(engine);
    free(large);
}

static void ownership(void)
{
    struct store *first = new_store(), *second = new_store();
    airssys_config_t *config = new_config();
    airssys_storage_t storage = table_of(first, true);

    /* Refused: the host still owns it. */
    storage.get = NULL;
    CHECK_STATUS(airssys_config_set_storage(config, &storage, NULL),
                 AIRSSYS_ERROR_INVALID_ARGUMENT);
    CHECK_NUMBER(first->drops, 0);

    /* Replaced: dropped at once if no engine uses it. */
    storage = table_of(first, true);
    CHECK_OK(airssys_config_set_storage(config, &storage, NULL));
    storage = table_of(second, true);
    CHECK_OK(airssys_config_set_storage(config, &storage, NULL));
    CHECK_NUMBER(first->drops, 1);

    /* Two engines and the configuration share it. It is dropped with the last. */
    airssys_engine_t *engines[2] = {engine_with(config), engine_with(config)};
    uint64_t users[2] = {load(engines[0], "storage-user"), load(engines[1], "storage-user")};
    CHECK_REPLY(engines[0], users[0], "set k v", "ok");
    CHECK_REPLY(engines[1], users[1], "get k", "v");
    airssys_engine_free(engines[0]);
    CHECK_NUMBER(second->drops, 0);
    airssys_config_free(config);
    CHECK_NUMBER(second->drops, 0);
    CHECK_REPLY(engines[1], users[1], "get k", "v");
    airssys_engine_free(engines[1]);
    CHECK_NUMBER(second->drops, 1);

    /* A configuration that no engine was made from. */
    config = new_config();
    storage = table_of(first, false);
    CHECK_OK(airssys_config_set_storage(config, &storage, NULL));
    airssys_config_free(config);
    CHECK_NUMBER(first->drops, 2);
    free(first);
    free(second);
}

int main(void)
{
    check_begin();
    operations(false);
    operations(true);
    errors();
    silent_errors();
    bad_keys();
    too_much();
    impossible_keys();
    ownership();
    return check_done();
}
