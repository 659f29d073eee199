/* units.c - numbers: "30s", "512M", "128". Never wrapped; 1.1G is cut to
 * whole bytes. */
#include "config/units.h"

#include "config/config.h"
#include "config/place.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

typedef struct unit {
    const char *name;
    uint64_t factor;
} unit;

static const unit durations[] = {
    {"ms", 1},      {"s", 1000},     {"m", 60000}, {"min", 60000},
    {"h", 3600000}, {"d", 86400000}, {NULL, 0},
};
static const unit sizes[] = {
    {"B", 1},
    {"K", 1ULL << 10},
    {"M", 1ULL << 20},
    {"G", 1ULL << 30},
    {"T", 1ULL << 40},
    {"KiB", 1ULL << 10},
    {"MiB", 1ULL << 20},
    {"GiB", 1ULL << 30},
    {"TiB", 1ULL << 40},
    {NULL, 0},
};

static bool digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Digits from *at into *number; false: more than INT64_MAX. */
static bool take_digits(const char **at, uint64_t *number)
{
    for (*number = 0; digit(**at); (*at)++) {
        if (*number > (INT64_MAX - (uint64_t)(**at - '0')) / 10) {
            return false;
        }
        *number = *number * 10 + (uint64_t)(**at - '0');
    }
    return true;
}

int kiln_units_integer(const char *text, int64_t *number, kiln_error *err)
{
    const char *at = text + (*text == '-' || *text == '+');
    uint64_t magnitude;
    if (!digit(*at)) {
        return kiln_error_set(err, EINVAL, "is no whole number");
    }
    if (!take_digits(&at, &magnitude)) {
        return kiln_error_set(err, ERANGE, "is too large");
    }
    if (*at != '\0') {
        return kiln_error_set(err, EINVAL, "is no whole number; it takes no unit");
    }
    *number = *text == '-' ? -(int64_t)magnitude : (int64_t)magnitude;
    return 0;
}

int kiln_units_decimal(const char *text, uint64_t *thousandths, kiln_error *err)
{
    const char *at = text;
    uint64_t whole;
    uint64_t scale = 1000;
    if (!digit(*at)) {
        return kiln_error_set(err, EINVAL, "is no number; write one like 2 or 1.5");
    }
    if (!take_digits(&at, &whole) || whole > INT64_MAX / 1000 - 1) {
        return kiln_error_set(err, ERANGE, "is too large");
    }
    *thousandths = whole * 1000;
    if (*at == '.' && digit(at[1])) {
        for (at++; digit(*at) && scale > 1; at++) {
            scale /= 10;
            *thousandths += (uint64_t)(*at - '0') * scale;
        }
    }
    if (digit(*at)) {
        return kiln_error_set(err, EINVAL, "has more than three digits behind its point");
    }
    if (*at != '\0') {
        return kiln_error_set(err, EINVAL, "is no number; write one like 2 or 1.5, no unit");
    }
    return 0;
}

/* NUMBER[.FRACTION]UNIT. `what` and `example` are for errors. */
static int quantity(const char *text, const unit *units, const char *what, const char *example,
                    uint64_t *result, kiln_error *err)
{
    const char *at = text;
    uint64_t whole, fraction = 0, scale = 1;
    if (*at == '-') {
        return kiln_error_set(err, EINVAL, "is negative; write a %s like %s", what, example);
    }
    if (!digit(*at)) {
        return kiln_error_set(err, EINVAL, "is no %s; write one like %s", what, example);
    }
    if (!take_digits(&at, &whole)) {
        return kiln_error_set(err, ERANGE, "is too large");
    }
    if (*at == '.' && digit(at[1])) {
        for (at++; digit(*at); at++) {
            if (scale > 100000000) {
                return kiln_error_set(err, EINVAL, "has too many digits behind its point");
            }
            fraction = fraction * 10 + (uint64_t)(*at - '0');
            scale *= 10;
        }
    }
    if (*at == ' ') {
        at++;
    }
    if (*at == '\0') {
        if (whole == 0 && fraction == 0) {
            *result = 0;
            return 0;
        }
        return kiln_error_set(err, EINVAL, "has no unit; write it like %s", example);
    }
    const unit *in = units;
    while (in->name != NULL && strcmp(in->name, at) != 0) {
        in++;
    }
    if (in->name == NULL) {
        return kiln_error_set(err, EINVAL, "has an unknown unit \"%.*s\"; write it like %s",
                              KILN_SHOWN(at), example);
    }
    if (whole > INT64_MAX / in->factor - 1) {
        return kiln_error_set(err, ERANGE, "is too large");
    }
    /* Below 10^9 * 2^40, which 64 bits do not hold. */
    unsigned __int128 part = (unsigned __int128)fraction * in->factor;
    if (units == durations && part % scale != 0) {
        return kiln_error_set(err, EINVAL, "is finer than a millisecond");
    }
    *result = whole * in->factor + (uint64_t)(part / scale);
    return 0;
}

int kiln_units_duration(const char *text, uint64_t *milliseconds, kiln_error *err)
{
    return quantity(text, durations, "duration", "500ms, 30s, 5m, 2h or 1d", milliseconds, err);
}

int kiln_units_size(const char *text, uint64_t *bytes, kiln_error *err)
{
    return quantity(text, sizes, "size", "512B, 64K, 512M, 1G or 1T", bytes, err);
}

int kiln_parse_duration(const char *text, uint64_t *milliseconds, kiln_error *err)
{
    int rc = kiln_units_duration(text, milliseconds, err);
    return rc < 0 ? kiln_place_quote(err, text) : 0;
}

int kiln_parse_size(const char *text, uint64_t *bytes, kiln_error *err)
{
    int rc = kiln_units_size(text, bytes, err);
    return rc < 0 ? kiln_place_quote(err, text) : 0;
}
