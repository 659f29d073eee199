/* Values into C's own memory and back; libffi does the call. */
#include "native/marshal.h"

#include "base/cleanup.h"

#include <errno.h>
#include <ffi.h>
#include <stdlib.h>
#include <string.h>

enum { ARGUMENTS_MAX = 2 * KILN_NATIVE_PARAMS_MAX };

typedef union cell {
    int8_t i8;
    int16_t i16;
    int32_t i32;
    int64_t i64;
    uint8_t u8;
    uint16_t u16;
    uint32_t u32;
    uint64_t u64;
    float f;
    double d;
    void *p;
    ffi_arg wide; /* as libffi returns integers */
} cell;

typedef struct invocation invocation;

/* One parameter in C's memory. */
typedef struct place {
    const kiln_native_type *type;
    void *memory; /* what the pointer points to, or the struct itself */
    size_t count; /* of bytes or numbers that there is room for */
    cell value;   /* the scalar or the pointer */
    cell size;    /* the length, or what `told` points to */
    cell size_pointer;
    ffi_closure *closure;
    ffi_cif cif;
    ffi_type *given[ARGUMENTS_MAX];
    uint64_t which;
    size_t index;
    invocation *call;
} place;

struct invocation {
    const kiln_native_signature *signature;
    kiln_native_callee callee;
    place places[KILN_NATIVE_PARAMS_MAX];
    size_t place_count;
    ffi_type *types[ARGUMENTS_MAX];
    void *values[ARGUMENTS_MAX];
    unsigned count;
    void *owned[4 * KILN_NATIVE_TYPES_MAX];
    size_t owned_count;
    kiln_error *failure; /* of a callback */
    bool failed;
};

static void *allocate(invocation *call, size_t size)
{
    void *memory = call->owned_count < sizeof(call->owned) / sizeof(call->owned[0])
                       ? calloc(1, size > 0 ? size : 1)
                       : NULL;
    if (memory != NULL) {
        call->owned[call->owned_count++] = memory;
    }
    return memory;
}

static ffi_type *scalar_type(kiln_native_kind kind)
{
    static ffi_type *const types[] = {
        [KILN_NATIVE_VOID] = &ffi_type_void,     [KILN_NATIVE_BOOL] = &ffi_type_uint8,
        [KILN_NATIVE_INT8] = &ffi_type_sint8,    [KILN_NATIVE_INT16] = &ffi_type_sint16,
        [KILN_NATIVE_INT32] = &ffi_type_sint32,  [KILN_NATIVE_INT64] = &ffi_type_sint64,
        [KILN_NATIVE_UINT8] = &ffi_type_uint8,   [KILN_NATIVE_UINT16] = &ffi_type_uint16,
        [KILN_NATIVE_UINT32] = &ffi_type_uint32, [KILN_NATIVE_UINT64] = &ffi_type_uint64,
        [KILN_NATIVE_FLOAT] = &ffi_type_float,   [KILN_NATIVE_DOUBLE] = &ffi_type_double,
    };
    return kind <= KILN_NATIVE_DOUBLE ? types[kind] : &ffi_type_pointer;
}

/* Of what is passed by value; NULL: out of memory. */
static ffi_type *type_of(invocation *call, const kiln_native_type *type)
{
    if (type->kind != KILN_NATIVE_STRUCT) {
        return type->array ? &ffi_type_pointer : scalar_type(type->kind);
    }
    size_t count = 0;
    for (uint8_t at = type->first; at != 0; at = call->signature->types[at].next) {
        count++;
    }
    ffi_type *made = allocate(call, sizeof(*made));
    ffi_type **elements = allocate(call, (count + 1) * sizeof(ffi_type *));
    if (made == NULL || elements == NULL) {
        return NULL;
    }
    *made = (ffi_type){.type = FFI_TYPE_STRUCT, .elements = elements};
    for (uint8_t at = type->first; at != 0; at = call->signature->types[at].next) {
        *elements = type_of(call, &call->signature->types[at]);
        if (*elements++ == NULL) {
            return NULL;
        }
    }
    return made;
}

static int64_t integer_of(const kiln_native_value *value)
{
    return value->tag == KILN_VALUE_UINT ? (int64_t)value->as.natural : value->as.integer;
}

static void store(kiln_native_kind kind, const kiln_native_value *value, void *to)
{
    cell at = {.i64 = 0};
    switch (kind) {
    case KILN_NATIVE_BOOL:
        at.u8 = value->tag == KILN_VALUE_TRUE;
        break;
    case KILN_NATIVE_FLOAT:
        at.f = (float)value->as.real;
        break;
    case KILN_NATIVE_DOUBLE:
        at.d = value->as.real;
        break;
    default: /* little endian: the low bytes come first */
        at.i64 = integer_of(value);
        break;
    }
    memcpy(to, &at, kiln_native_scalar_size(kind));
}

static kiln_native_value load(kiln_native_kind kind, const void *from)
{
    cell at = {.u64 = 0};
    kiln_native_value value = {.tag = KILN_VALUE_INT};
    memcpy(&at, from, kiln_native_scalar_size(kind));
    switch (kind) {
    case KILN_NATIVE_BOOL:
        value.tag = at.u8 != 0 ? KILN_VALUE_TRUE : KILN_VALUE_FALSE;
        return value;
    case KILN_NATIVE_INT8:
        value.as.integer = (at.u8 ^ 0x80) - 0x80; /* its sign, in all 64 bits */
        return value;
    case KILN_NATIVE_INT16:
        value.as.integer = at.i16;
        return value;
    case KILN_NATIVE_INT32:
        value.as.integer = at.i32;
        return value;
    case KILN_NATIVE_INT64:
        value.as.integer = at.i64;
        return value;
    case KILN_NATIVE_FLOAT:
    case KILN_NATIVE_DOUBLE:
        value.tag = KILN_VALUE_REAL;
        value.as.real = kind == KILN_NATIVE_FLOAT ? (double)at.f : at.d;
        return value;
    default:
        return kiln_native_natural(at.u64);
    }
}

static void store_struct(const invocation *call, const kiln_native_type *type,
                         const ffi_type *layout, const kiln_native_value *value, char *to);

static void store_member(const invocation *call, const kiln_native_type *type,
                         const ffi_type *layout, const kiln_native_value *value, char *to)
{
    if (type->kind == KILN_NATIVE_STRUCT) {
        store_struct(call, type, layout, value, to);
    } else {
        store(type->kind, value, to);
    }
}

static size_t aligned(size_t at, const ffi_type *layout)
{
    return (at + layout->alignment - 1) / layout->alignment * layout->alignment;
}

static void store_struct(const invocation *call, const kiln_native_type *type,
                         const ffi_type *layout, const kiln_native_value *value, char *to)
{
    size_t offset = 0;
    size_t i = 0;
    for (uint8_t at = type->first; at != 0; at = call->signature->types[at].next, i++) {
        offset = aligned(offset, layout->elements[i]);
        store_member(call, &call->signature->types[at], layout->elements[i],
                     &value->as.list.items[i], to + offset);
        offset += layout->elements[i]->size;
    }
}

static int load_struct(const invocation *call, const kiln_native_type *type,
                       const ffi_type *layout, const char *from, kiln_native_value *value)
{
    size_t count = 0;
    size_t offset = 0;
    while (layout->elements[count] != NULL) {
        count++;
    }
    if (kiln_native_value_list(value, count) < 0) {
        return -ENOMEM;
    }
    uint8_t at = type->first;
    for (size_t i = 0; i < count; i++, at = call->signature->types[at].next) {
        const kiln_native_type *member = &call->signature->types[at];
        offset = aligned(offset, layout->elements[i]);
        if (member->kind != KILN_NATIVE_STRUCT) {
            value->as.list.items[i] = load(member->kind, from + offset);
        } else if (load_struct(call, member, layout->elements[i], from + offset,
                               &value->as.list.items[i]) < 0) {
            return -ENOMEM;
        }
        offset += layout->elements[i]->size;
    }
    return 0;
}

static int load_many(kiln_native_kind kind, const char *from, size_t count,
                     kiln_native_value *value)
{
    size_t size = kiln_native_scalar_size(kind);
    if (count > KILN_VALUE_COUNT_MAX - 64) {
        return -E2BIG;
    }
    if (kiln_native_value_list(value, count) < 0) {
        return -ENOMEM;
    }
    for (size_t i = 0; i < count; i++) {
        value->as.list.items[i] = load(kind, from + i * size);
    }
    return 0;
}

/* ---- what goes in */

static void add(invocation *call, ffi_type *type, void *value)
{
    call->types[call->count] = type;
    call->values[call->count++] = value;
}

static void answer_callback(ffi_cif *cif, void *result, void **values, void *user);

static int make_closure(invocation *call, place *at, const kiln_native_value *value)
{
    const kiln_native_signature *signature = call->signature;
    const kiln_native_type *result = &signature->types[at->type->first];
    void *code;
    unsigned count = 0;
    for (uint8_t i = result->next; i != 0; i = signature->types[i].next) {
        const kiln_native_type *given = &signature->types[i];
        bool counted = given->kind == KILN_NATIVE_BYTES || given->array;
        at->given[count++] = counted ? &ffi_type_pointer : scalar_type(given->kind);
        if (counted && given->fixed == 0) {
            at->given[count++] = scalar_type(given->size);
        }
    }
    at->which = value->as.natural;
    at->closure = ffi_closure_alloc(sizeof(ffi_closure), &code);
    if (at->closure == NULL ||
        ffi_prep_cif(&at->cif, FFI_DEFAULT_ABI, count, scalar_type(result->kind), at->given) !=
            FFI_OK ||
        ffi_prep_closure_loc(at->closure, &at->cif, answer_callback, at, code) != FFI_OK) {
        return -ENOMEM;
    }
    at->value.p = code;
    add(call, &ffi_type_pointer, &at->value);
    return 0;
}

/* Memory behind a pointer, with what the caller gives in it. */
static int place_many(invocation *call, place *at, const kiln_native_value *value)
{
    const kiln_native_type *type = at->type;
    bool bytes = type->kind == KILN_NATIVE_BYTES;
    size_t unit = bytes ? 1 : kiln_native_scalar_size(type->kind);
    if (!type->in) {
        at->count = type->fixed > 0 ? type->fixed : (size_t)value->as.integer;
    } else {
        at->count = bytes ? value->as.bytes.length : value->as.list.count;
    }
    at->memory = allocate(call, at->count * unit);
    if (at->memory == NULL) {
        return -ENOMEM;
    }
    if (type->in && bytes && at->count > 0) {
        memcpy(at->memory, value->as.bytes.data, at->count);
    }
    for (size_t i = 0; type->in && !bytes && i < at->count; i++) {
        store(type->kind, &value->as.list.items[i], (char *)at->memory + i * unit);
    }
    at->value.p = at->memory;
    add(call, &ffi_type_pointer, &at->value);
    if (type->fixed > 0 || type->bare) {
        return 0;
    }
    at->size.u64 = at->count;
    at->size_pointer.p = &at->size;
    if (type->told) {
        add(call, &ffi_type_pointer, &at->size_pointer);
    } else {
        add(call, scalar_type(type->size), &at->size);
    }
    return 0;
}

/* A scalar or struct, by value or behind a pointer. */
static int place_one(invocation *call, place *at, const kiln_native_value *value)
{
    const kiln_native_type *type = at->type;
    ffi_type *layout = type_of(call, type);
    size_t offsets[KILN_NATIVE_PARAMS_MAX];
    if (layout == NULL ||
        (type->kind == KILN_NATIVE_STRUCT &&
         ffi_get_struct_offsets(FFI_DEFAULT_ABI, layout, offsets) != FFI_OK)) {
        return -ENOMEM;
    }
    at->memory = allocate(call, layout->size > sizeof(cell) ? layout->size : sizeof(cell));
    if (at->memory == NULL) {
        return -ENOMEM;
    }
    if (type->in) {
        store_member(call, type, layout, value, at->memory);
    }
    if (type->out) {
        at->value.p = at->memory;
        add(call, &ffi_type_pointer, &at->value);
    } else {
        add(call, layout, at->memory);
    }
    at->given[0] = layout;
    return 0;
}

static int place_string(invocation *call, place *at, const kiln_native_value *value)
{
    at->memory = allocate(call, value->as.bytes.length + 1);
    if (at->memory == NULL) {
        return -ENOMEM;
    }
    if (value->as.bytes.length > 0) {
        memcpy(at->memory, value->as.bytes.data, value->as.bytes.length);
    }
    at->value.p = at->memory;
    add(call, &ffi_type_pointer, &at->value);
    return 0;
}

static int place_argument(invocation *call, place *at, const kiln_native_value *value)
{
    if (at->type->array || at->type->kind == KILN_NATIVE_BYTES) {
        return place_many(call, at, value);
    }
    switch (at->type->kind) {
    case KILN_NATIVE_STRING:
        return place_string(call, at, value);
    case KILN_NATIVE_CALLBACK:
        return make_closure(call, at, value);
    case KILN_NATIVE_NULL:
        add(call, &ffi_type_pointer, &at->value);
        return 0;
    default:
        return place_one(call, at, value);
    }
}

/* ---- what comes out */

static int take_out(const invocation *call, const place *at, kiln_native_value *value)
{
    size_t count = at->count;
    if (at->type->told) {
        cell size = {.u64 = 0};
        memcpy(&size, &at->size, kiln_native_scalar_size(at->type->size));
        count = size.u64 < count ? (size_t)size.u64 : count;
    }
    if (at->type->kind == KILN_NATIVE_BYTES) {
        *value = kiln_native_bytes(at->memory, count);
        return 0;
    }
    if (at->type->array) {
        return load_many(at->type->kind, at->memory, count, value);
    }
    if (at->type->kind == KILN_NATIVE_STRUCT) {
        return load_struct(call, at->type, at->given[0], at->memory, value);
    }
    *value = load(at->type->kind, at->memory);
    return 0;
}

static int take_result(const invocation *call, const ffi_type *layout, const void *memory,
                       kiln_native_value *value)
{
    const kiln_native_type *type = &call->signature->types[0];
    const char *pointer;
    switch (type->kind) {
    case KILN_NATIVE_STRING:
    case KILN_NATIVE_BYTES:
        memcpy(&pointer, memory, sizeof(pointer));
        if (pointer == NULL) {
            *value = (kiln_native_value){.tag = KILN_VALUE_NULL};
        } else {
            *value = type->kind == KILN_NATIVE_STRING
                         ? kiln_native_text(pointer, strlen(pointer))
                         : kiln_native_bytes(pointer, type->fixed);
        }
        return 0;
    case KILN_NATIVE_STRUCT:
        return load_struct(call, type, layout, memory, value);
    default: /* libffi widens integers: their low bytes come first */
        *value = load(type->kind, memory);
        return 0;
    }
}

static int collect(const invocation *call, const ffi_type *layout, const void *memory,
                   int error_number, kiln_native_value *results)
{
    const kiln_native_type *type = &call->signature->types[0];
    size_t count = (type->kind != KILN_NATIVE_VOID) + call->signature->has_errno;
    for (size_t i = 0; i < call->place_count; i++) {
        count += call->places[i].type->out;
    }
    int rc = kiln_native_value_list(results, count);
    kiln_native_value *next = results->as.list.items;
    if (rc == 0 && type->kind != KILN_NATIVE_VOID) {
        rc = take_result(call, layout, memory, next++);
    }
    for (size_t i = 0; rc == 0 && i < call->place_count; i++) {
        if (call->places[i].type->out) {
            rc = take_out(call, &call->places[i], next++);
        }
    }
    if (rc == 0 && call->signature->has_errno) {
        *next = (kiln_native_value){.tag = KILN_VALUE_INT, .as.integer = error_number};
    }
    return rc;
}

/* ---- callbacks */

static int take_given(const kiln_native_type *type, void **values, unsigned *at,
                      kiln_native_value *value)
{
    const char *pointer;
    if (type->kind != KILN_NATIVE_STRING && type->kind != KILN_NATIVE_BYTES && !type->array) {
        *value = load(type->kind, values[(*at)++]);
        return 0;
    }
    memcpy(&pointer, values[(*at)++], sizeof(pointer));
    size_t count = type->fixed;
    if (type->kind != KILN_NATIVE_STRING && count == 0) {
        cell size = {.u64 = 0};
        memcpy(&size, values[(*at)++], kiln_native_scalar_size(type->size));
        count = (size_t)size.u64;
    }
    if (pointer == NULL) {
        *value = (kiln_native_value){.tag = KILN_VALUE_NULL};
    } else if (type->kind == KILN_NATIVE_STRING) {
        *value = kiln_native_text(pointer, strlen(pointer));
    } else if (type->kind == KILN_NATIVE_BYTES) {
        *value = kiln_native_bytes(pointer, count);
    } else {
        return load_many(type->kind, pointer, count, value);
    }
    return 0;
}

static void answer_callback(ffi_cif *cif, void *result, void **values, void *user)
{
    place *at = user;
    invocation *call = at->call;
    const kiln_native_signature *signature = call->signature;
    const kiln_native_type *type = &signature->types[at->type->first];
    auto_value kiln_native_value given = {.tag = KILN_VALUE_NULL};
    kiln_native_value returned = {.tag = KILN_VALUE_NULL};
    kiln_native_value items[KILN_NATIVE_PARAMS_MAX];
    size_t count = 0;
    unsigned next = 0;
    int rc = 0;
    (void)cif;
    if (type->kind != KILN_NATIVE_VOID) {
        memset(result, 0, sizeof(ffi_arg));
    }
    for (uint8_t i = type->next; rc == 0 && i != 0 && !call->failed;
         i = signature->types[i].next) {
        if (signature->types[i].kind == KILN_NATIVE_NULL) {
            next++;
        } else {
            items[count] = (kiln_native_value){.tag = KILN_VALUE_NULL};
            rc = take_given(&signature->types[i], values, &next, &items[count++]);
        }
    }
    if (rc == 0 && !call->failed && (rc = kiln_native_value_list(&given, count)) == 0) {
        memcpy(given.as.list.items, items, count * sizeof(*items));
        rc = call->callee(at->index, at->which, &given, &returned, call->failure);
        rc = rc < 0 ? rc
                    : kiln_native_check_returned(signature, at->type, &returned, call->failure);
    }
    if (rc < 0 || call->failed) {
        if (!call->failed && call->failure->code == 0) {
            kiln_error_set(call->failure, rc, "what C gave to a function was too much");
        }
        call->failed = true; /* C goes on with zeroes to its end */
    } else if (type->kind != KILN_NATIVE_VOID) {
        cell value = {.i64 = 0};
        if (kiln_native_is_integer(type->kind)) {
            value.i64 = integer_of(&returned); /* libffi wants integers widened */
        } else {
            store(type->kind, &returned, &value);
        }
        memcpy(result, &value, sizeof(ffi_arg));
    }
}

/* ---- the call */

static int place_all(invocation *call, const kiln_native_value *arguments)
{
    const kiln_native_signature *signature = call->signature;
    size_t argument = 0;
    size_t index = 0;
    int rc = 0;
    for (uint8_t at = signature->params; rc == 0 && at != 0;
         at = signature->types[at].next, index++) {
        place *next = &call->places[call->place_count++];
        const kiln_native_type *type = &signature->types[at];
        bool counted = (type->kind == KILN_NATIVE_BYTES || type->array) && type->fixed == 0;
        bool given = type->kind != KILN_NATIVE_NULL && (type->in || counted);
        next->type = type;
        next->call = call;
        next->index = index;
        rc = place_argument(call, next, given ? &arguments->as.list.items[argument++] : NULL);
    }
    return rc;
}

static int invoke(invocation *call, void (*function)(void), const kiln_native_value *arguments,
                  kiln_buffer *answer, kiln_error *err)
{
    ffi_cif cif;
    size_t offsets[KILN_NATIVE_PARAMS_MAX];
    auto_value kiln_native_value results = {.tag = KILN_VALUE_NULL};
    ffi_type *layout = type_of(call, &call->signature->types[0]);
    int rc = layout == NULL ? -ENOMEM : place_all(call, arguments);
    if (rc < 0) {
        return kiln_error_set(err, rc, "out of memory in the helper process");
    }
    if (ffi_prep_cif(&cif, FFI_DEFAULT_ABI, call->count, layout, call->types) != FFI_OK ||
        (layout->type == FFI_TYPE_STRUCT &&
         ffi_get_struct_offsets(FFI_DEFAULT_ABI, layout, offsets) != FFI_OK)) {
        return kiln_error_set(err, EINVAL, "libffi cannot call such a function here");
    }
    void *memory = allocate(call, layout->size > sizeof(cell) ? layout->size : sizeof(cell));
    if (memory == NULL) {
        return kiln_error_set(err, ENOMEM, "out of memory in the helper process");
    }
    errno = 0;
    ffi_call(&cif, function, memory, call->values);
    int error_number = errno;
    if (call->failed) {
        return err->code;
    }
    rc = collect(call, layout, memory, error_number, &results);
    rc = rc < 0 ? rc : kiln_native_value_append(answer, &results);
    return rc < 0 ? kiln_error_set(err, rc, "%s",
                                   rc == -E2BIG ? "the results are more than 16 MiB"
                                                : "out of memory in the helper process")
                  : 0;
}

int kiln_native_invoke(void (*function)(void), const kiln_native_signature *signature,
                       const kiln_native_value *arguments, kiln_native_callee callee,
                       kiln_buffer *answer, kiln_error *err)
{
    invocation *call = calloc(1, sizeof(*call));
    if (call == NULL) {
        return kiln_error_set(err, ENOMEM, "out of memory in the helper process");
    }
    call->signature = signature;
    call->callee = callee;
    call->failure = err;
    int rc = invoke(call, function, arguments, answer, err);
    for (size_t i = 0; i < call->place_count; i++) {
        if (call->places[i].closure != NULL) {
            ffi_closure_free(call->places[i].closure);
        }
    }
    for (size_t i = 0; i < call->owned_count; i++) {
        free(call->owned[i]);
    }
    free(call);
    return rc;
}
