/* near_match.c - "did you mean": the nearest of a few candidates by the number of
 * typing slips between two words. */
#include "config/config.h"

#include <string.h>

enum { LONGEST = 64 };

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

/* Slips that a typist makes and still means the word. */
static unsigned allowed(size_t length)
{
    return length <= 4 ? 1 : length <= 8 ? 2 : 3;
}

/* Optimal string alignment: insert, delete, replace, swap of neighbours, one each;
 * upper and lower case are the same letter. Both at most LONGEST long. */
static unsigned distance(const char *a, size_t a_length, const char *b, size_t b_length)
{
    unsigned rows[3][LONGEST + 1];
    unsigned *before = rows[0], *above = rows[1], *row = rows[2];
    for (size_t j = 0; j <= b_length; j++) {
        before[j] = above[j] = (unsigned)j;
    }
    for (size_t i = 1; i <= a_length; i++) {
        row[0] = (unsigned)i;
        for (size_t j = 1; j <= b_length; j++) {
            unsigned best = above[j - 1] + (lower(a[i - 1]) != lower(b[j - 1]));
            if (above[j] + 1 < best) {
                best = above[j] + 1;
            }
            if (row[j - 1] + 1 < best) {
                best = row[j - 1] + 1;
            }
            if (i > 1 && j > 1 && lower(a[i - 1]) == lower(b[j - 2]) &&
                lower(a[i - 2]) == lower(b[j - 1]) && before[j - 2] + 1 < best) {
                best = before[j - 2] + 1;
            }
            row[j] = best;
        }
        unsigned *oldest = before;
        before = above;
        above = row;
        row = oldest;
    }
    return above[b_length];
}

const char *kiln_near_match(const char *word, const char *const *candidates)
{
    size_t length = strlen(word);
    if (length == 0 || length > LONGEST) {
        return NULL;
    }
    const char *nearest = NULL;
    unsigned least = allowed(length) + 1;
    const char *beginning = NULL;
    for (; *candidates != NULL; candidates++) {
        size_t other = strlen(*candidates);
        size_t apart = other > length ? other - length : length - other;
        if (other <= LONGEST && apart < least) {
            unsigned slips = distance(word, length, *candidates, other);
            /* Where every letter would be another, nothing is near: "a" is not "b". */
            if (slips < least && slips < length) {
                least = slips;
                nearest = *candidates;
            }
        }
        if (beginning == NULL && length >= 3 && strncmp(word, *candidates, length) == 0) {
            beginning = *candidates;
        }
    }
    return nearest != NULL ? nearest : beginning;
}
