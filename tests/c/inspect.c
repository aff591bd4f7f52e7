/* A component is inspected without an engine and with one, and tells the same. */
#include "host.h"

static uint8_t *contents(const char *guest, size_t *len)
{
    char path[4096];
    FILE *file = fopen(guest_path(guest, path, sizeof path), "rb");
    REQUIRE(file != NULL);
    REQUIRE(fseek(file, 0, SEEK_END) == 0);
    long size = ftell(file);
    REQUIRE(size > 0 && fseek(file, 0, SEEK_SET) == 0);
    uint8_t *bytes = malloc((size_t)size);
    REQUIRE(bytes != NULL);
    REQUIRE(fread(bytes, 1, (size_t)size, file) == (size_t)size);
    fclose(file);
    *len = (size_t)size;
    return bytes;
}

int main(void)
{
    check_begin();
    size_t len = 0;
    uint8_t *wasm = contents("calculator", &len);
    airssys_bytes_t json = {0}, loaded = {0};
    CHECK_OK(airssys_component_inspect(wasm, len, &json, NULL));
    CHECK_NUMBER(json.len, strlen((const char *)json.data));
    CHECK_CONTAINS((const char *)json.data, "\"call\":\"docs:calc/ops@0.1.0#add\"");
    CHECK_CONTAINS((const char *)json.data, "\"needs\":[]");

    airssys_engine_t *engine = new_engine();
    uint64_t calculator = load(engine, "calculator");
    CHECK_OK(airssys_engine_inspect(engine, calculator, &loaded, NULL));
    CHECK_TEXT((const char *)loaded.data, (const char *)json.data);
    airssys_bytes_free(&json);
    airssys_bytes_free(&loaded);
    airssys_engine_free(engine);

    /* What is no component has the status and the message of a load. */
    airssys_error_t *error = NULL;
    CHECK_STATUS(airssys_component_inspect(wasm, len / 2, &json, &error),
                 AIRSSYS_ERROR_INVALID_COMPONENT);
    CHECK_CONTAINS(airssys_error_message(error), "invalid component: unexpected end");
    CHECK(json.data == NULL);
    airssys_error_free(error);
    CHECK_STATUS(airssys_component_inspect(NULL, 0, &json, NULL), AIRSSYS_ERROR_INVALID_COMPONENT);
    free(wasm);
    return check_done();
}
