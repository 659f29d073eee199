/* pixels.c - PNG pictures point by point, by libpng's simplified API: whatever the file's
 * colour type, compression and chunks, two pictures are equal that look the same. */
#include "operations.h"

#include <png.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { POINTS_MAX = 32 << 20 };

typedef struct picture {
    png_image image;
    png_bytep points;
} picture;

/* Empty: it could be opened. */
static const char *open_picture(picture *p, const char *path)
{
    memset(&p->image, 0, sizeof(p->image));
    p->image.version = PNG_IMAGE_VERSION;
    if (!png_image_begin_read_from_file(&p->image, path))
        return p->image.message;
    return (unsigned long long)p->image.width * p->image.height > POINTS_MAX ? "too many points"
                                                                             : "";
}

static const char *read_picture(picture *p, png_uint_32 format)
{
    p->image.format = format;
    p->points = malloc(PNG_IMAGE_SIZE(p->image));
    if (p->points == NULL)
        return "out of memory";
    return png_image_finish_read(&p->image, NULL, p->points, 0, NULL) ? "" : p->image.message;
}

static json_t *first_difference(const picture *a, const picture *b, size_t point)
{
    size_t total = (size_t)a->image.width * a->image.height;
    for (size_t i = 0; i < total; i++) {
        if (memcmp(a->points + i * point, b->points + i * point, point) != 0)
            return json_sprintf("as a picture: from the point %zu,%zu on", i % a->image.width,
                                i / a->image.width);
    }
    return json_null();
}

/* null, or what is different. */
static json_t *compare(picture *a, picture *b)
{
    if (a->image.width != b->image.width || a->image.height != b->image.height)
        return json_sprintf("as a picture: %u x %u points, expected are %u x %u",
                            b->image.width, b->image.height, a->image.width, a->image.height);
    /* 16 bits a channel where one of them has them: 8 would hide a difference. */
    int wide = ((a->image.format | b->image.format) & PNG_FORMAT_FLAG_LINEAR) != 0;
    png_uint_32 format = wide ? PNG_FORMAT_LINEAR_RGB_ALPHA : PNG_FORMAT_RGBA;
    const char *why = read_picture(a, format);
    if (*why == '\0')
        why = read_picture(b, format);
    return *why != '\0' ? json_sprintf("as a picture: %s", why)
                        : first_difference(a, b, wide ? 8 : 4);
}

static json_t *compare_files(const char *number)
{
    char path[64];
    picture a = {.points = NULL}, b = {.points = NULL};
    json_t *answer;
    snprintf(path, sizeof(path), "%.20s.expected", number);
    const char *why = open_picture(&a, path);
    if (*why != '\0') {
        answer = json_sprintf("the expected picture: %s", why);
    } else {
        snprintf(path, sizeof(path), "%.20s.actual", number);
        why = open_picture(&b, path);
        answer = *why != '\0' ? json_sprintf("as a picture: %s", why) : compare(&a, &b);
        png_image_free(&b.image);
    }
    png_image_free(&a.image);
    free(a.points);
    free(b.points);
    return answer != NULL ? answer : json_string("as a picture");
}

int bundle_pixels(const char *numbers, json_t *answer)
{
    char *words = strdup(numbers), *rest = words;
    json_t *pictures = json_object();
    if (words == NULL || pictures == NULL) {
        free(words);
        json_decref(pictures);
        return bundle_fail(answer, "out of memory");
    }
    for (char *word; (word = strsep(&rest, " ")) != NULL;) {
        if (*word != '\0' && strspn(word, "0123456789") == strlen(word))
            json_object_set_new(pictures, word, compare_files(word));
    }
    free(words);
    json_object_set_new(answer, "pictures", pictures);
    return 0;
}
