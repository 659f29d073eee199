/* Registry credentials, from the file that docker login and podman login write. */
#include "image.h"

#include <jansson.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void registry_of(const char *image, char *registry, size_t size)
{
    size_t length = strcspn(image, "/");
    /* A first part with a dot, a port or the name localhost is a host; else Docker's. */
    bool host = image[length] == '/' &&
                (memchr(image, '.', length) != NULL || memchr(image, ':', length) != NULL ||
                 (length == 9 && memcmp(image, "localhost", 9) == 0));
    if (host) {
        snprintf(registry, size, "%.*s", (int)length, image);
    } else {
        snprintf(registry, size, "docker.io");
    }
}

/* The entry of a registry: its name alone, or as an address. */
static json_t *find_entry(json_t *auths, const char *registry)
{
    const char *key;
    json_t *entry;
    size_t length = strlen(registry);
    json_object_foreach(auths, key, entry)
    {
        const char *host = strstr(key, "://") != NULL ? strstr(key, "://") + 3 : key;
        if (strncmp(host, "index.docker.io", 15) == 0 && strcmp(registry, "docker.io") == 0) {
            return entry;
        }
        if (strncmp(host, registry, length) == 0 &&
            (host[length] == '\0' || host[length] == '/')) {
            return entry;
        }
    }
    return NULL;
}

/* "user:password" in base64 -> {"username","password","serveraddress"} */
static json_t *decode_auth(const char *base64, const char *registry)
{
    unsigned char text[1024];
    size_t length;
    if (sodium_base642bin(text, sizeof(text) - 1, base64, strlen(base64), "\r\n ", &length,
                          NULL, sodium_base64_VARIANT_ORIGINAL) != 0) {
        return NULL;
    }
    text[length] = '\0';
    char *colon = strchr((char *)text, ':');
    json_t *json = NULL;
    if (colon != NULL) {
        *colon = '\0';
        json = json_pack("{s:s, s:s, s:s}", "username", (char *)text, "password", colon + 1,
                         "serveraddress", registry);
    }
    sodium_memzero(text, sizeof(text));
    return json;
}

static char *encode_header(const json_t *json)
{
    static const char name[] = "X-Registry-Auth: ";
    char *text = json_dumps(json, JSON_COMPACT);
    if (text == NULL) {
        return NULL;
    }
    size_t size = sodium_base64_encoded_len(strlen(text), sodium_base64_VARIANT_URLSAFE);
    char *header = malloc(sizeof(name) + size);
    if (header != NULL) {
        memcpy(header, name, sizeof(name));
        sodium_bin2base64(header + sizeof(name) - 1, size, (const unsigned char *)text,
                          strlen(text), sodium_base64_VARIANT_URLSAFE);
    }
    sodium_memzero(text, strlen(text));
    free(text);
    return header;
}

char *credentials_for(const backend *self, const char *image)
{
    char registry[256];
    char *header = NULL;
    json_error_t why;
    if (self->settings.auth_file == NULL) {
        return NULL;
    }
    json_t *file = json_load_file(self->settings.auth_file, 0, &why);
    if (file == NULL) {
        say(self, KILN_PLUGIN_LOG_WARNING, "%s: line %d: no JSON: pulling without credentials",
            self->settings.auth_file, why.line);
        return NULL;
    }
    registry_of(image, registry, sizeof(registry));
    json_t *entry = find_entry(json_object_get(file, "auths"), registry);
    const char *auth = json_string_value(json_object_get(entry, "auth"));
    const char *token = json_string_value(json_object_get(entry, "identitytoken"));
    json_t *json = token != NULL  ? json_pack("{s:s, s:s}", "identitytoken", token,
                                              "serveraddress", registry)
                   : auth != NULL ? decode_auth(auth, registry)
                                  : NULL;
    if (json != NULL) {
        header = encode_header(json);
    } else if (entry != NULL || json_object_get(file, "credsStore") != NULL) {
        say(self, KILN_PLUGIN_LOG_WARNING,
            "%s: no password for %s in it (a credential helper keeps it?): pulling without",
            self->settings.auth_file, registry);
    }
    json_decref(json);
    json_decref(file);
    return header;
}
