/* Storage in a file: it outlives engines, belongs to one at a time, and can be compacted. */
#include "host.h"

#include <unistd.h>

static char path[256];

static airssys_config_t *with_file(void)
{
    char json[512];
    airssys_config_t *config = new_config();
    REQUIRE((size_t)snprintf(json, sizeof json, "{\"storage\": {\"path\": \"%s\"}}", path) <
            sizeof json);
    CHECK_OK(airssys_config_set_json(config, json, NULL));
    return config;
}

int main(void)
{
    char directory[] = "/tmp/airssys-durable-XXXXXX";
    REQUIRE(mkdtemp(directory) != NULL);
    snprintf(path, sizeof path, "%s/store", directory);
    airssys_config_t *config = with_file();

    for (int n = 1; n <= 2; n++) {
        char expected[8];
        snprintf(expected, sizeof expected, "%d", n);
        airssys_engine_t *engine = engine_with(config);
        uint64_t user = load(engine, "storage-user");
        CHECK_REPLY(engine, user, "incr n", expected);

        airssys_engine_t *second = NULL;
        airssys_error_t *error = NULL;
        CHECK_STATUS(airssys_engine_new(config, &second, &error), AIRSSYS_ERROR_IO);
        CHECK(second == NULL);
        CHECK_CONTAINS(airssys_error_message(error), path);
        CHECK_CONTAINS(airssys_error_detail_json(error), "\"problem\":\"in-use\"");
        airssys_error_free(error);

        CHECK_OK(airssys_engine_storage_compact(engine, NULL));
        airssys_bytes_t stats = {0};
        CHECK_OK(airssys_engine_stats(engine, &stats, NULL));
        CHECK_CONTAINS((const char *)stats.data, "\"live-bytes\":2");
        airssys_bytes_free(&stats);
        airssys_engine_free(engine);
    }

    airssys_config_free(config);
    unlink(path);
    rmdir(directory);
    return check_done();
}
