#include "proto/http_octets.h"

#if HTTP_OCTETS_X86
#include <immintrin.h>
#endif

/* The grammar, octet by octet; the compiler works the tables out. */
#define IS_DIGIT(o)    ((o) >= '0' && (o) <= '9')
#define IS_UPPER(o)    ((o) >= 'A' && (o) <= 'Z')
#define IS_LOWER(o)    ((o) >= 'a' && (o) <= 'z')
#define IS_HEX(o)      (IS_DIGIT(o) || ((o) >= 'A' && (o) <= 'F') || ((o) >= 'a' && (o) <= 'f'))
#define IS_ALNUM(o)    (IS_DIGIT(o) || IS_UPPER(o) || IS_LOWER(o))
#define IS_BLANK(o)    ((o) == ' ' || (o) == '\t')
#define IS_VISIBLE(o)  ((o) > 0x20 && (o) < 0x7f)
#define IS_OBS_TEXT(o) ((o) >= 0x80)

#define IS_TCHAR(o)                                                                                                    \
    (IS_ALNUM(o) || (o) == '!' || (o) == '#' || (o) == '$' || (o) == '%' || (o) == '&' || (o) == '\'' || (o) == '*' || \
     (o) == '+' || (o) == '-' || (o) == '.' || (o) == '^' || (o) == '_' || (o) == '`' || (o) == '|' || (o) == '~')

#define IS_REGISTERED_NAME(o)                                                                                         \
    (IS_ALNUM(o) || (o) == '-' || (o) == '.' || (o) == '_' || (o) == '~' || (o) == '!' || (o) == '$' || (o) == '&' || \
     (o) == '\'' || (o) == '(' || (o) == ')' || (o) == '*' || (o) == '+' || (o) == ',' || (o) == ';' || (o) == '=')

#define CLASSES(o)                                                                                            \
    ((IS_DIGIT(o) ? OCTET_DIGIT : 0) | (IS_HEX(o) ? OCTET_HEX : 0) | (IS_BLANK(o) ? OCTET_BLANK : 0) |        \
     (IS_REGISTERED_NAME(o) ? OCTET_REGISTERED_NAME : 0) | (IS_VISIBLE(o) && (o) != '#' ? OCTET_TARGET : 0) | \
     ((IS_BLANK(o) || IS_VISIBLE(o) || IS_OBS_TEXT(o)) && (o) != '"' && (o) != '\\' ? OCTET_QUOTED : 0) |     \
     (IS_BLANK(o) || IS_VISIBLE(o) || IS_OBS_TEXT(o) ? OCTET_QUOTED_PAIR | OCTET_VALUE : 0))

#define LOWER_TCHAR(o) (IS_UPPER(o) ? (o) | 0x20 : IS_TCHAR(o) ? (o) : 0)

#define FOUR(f, o)       f(o), f((o) + 1), f((o) + 2), f((o) + 3)
#define SIXTEEN(f, o)    FOUR(f, o), FOUR(f, (o) + 4), FOUR(f, (o) + 8), FOUR(f, (o) + 12)
#define SIXTY_FOUR(f, o) SIXTEEN(f, o), SIXTEEN(f, (o) + 16), SIXTEEN(f, (o) + 32), SIXTEEN(f, (o) + 48)
#define ALL_OCTETS(f)    SIXTY_FOUR(f, 0), SIXTY_FOUR(f, 64), SIXTY_FOUR(f, 128), SIXTY_FOUR(f, 192)

const uint8_t http_octet_classes[256] = {ALL_OCTETS(CLASSES)};
const uint8_t http_lower_tchar[256] = {ALL_OCTETS(LOWER_TCHAR)};

size_t http_control_find_plain(const uint8_t *data, size_t from, size_t length)
{
    while (from < length && http_octet_is(data[from], OCTET_VALUE))
        from++;
    return from;
}

size_t http_name_lower_plain(uint8_t *data, size_t length)
{
    size_t at = 0;
    for (; at < length; at++) {
        uint8_t lower = http_lower_tchar[data[at]];
        if (lower == 0)
            break;
        data[at] = lower;
    }
    return at;
}

#if HTTP_OCTETS_X86

/* One bit per octet that is a control. */
static inline unsigned control_mask16(const uint8_t *data)
{
    __m128i octets = _mm_loadu_si128((const __m128i *)(const void *)data);
    __m128i below_space = _mm_cmpeq_epi8(_mm_min_epu8(octets, _mm_set1_epi8(0x1f)), octets);
    __m128i tab = _mm_cmpeq_epi8(octets, _mm_set1_epi8('\t'));
    __m128i del = _mm_cmpeq_epi8(octets, _mm_set1_epi8(0x7f));
    return (unsigned)_mm_movemask_epi8(_mm_or_si128(_mm_andnot_si128(tab, below_space), del));
}

size_t http_control_find_sse2(const uint8_t *data, size_t from, size_t length)
{
    for (; length - from >= 16; from += 16) {
        unsigned mask = control_mask16(data + from);
        if (mask != 0)
            return from + (size_t)__builtin_ctz(mask);
    }
    if (length < 16)
        return http_control_find_plain(data, from, length);
    /* The last vector ends with the data; what it sees again before `from` is shifted away. */
    unsigned overlap = (unsigned)(16 - (length - from));
    unsigned mask = control_mask16(data + length - 16) >> overlap;
    return mask != 0 ? from + (size_t)__builtin_ctz(mask) : length;
}

__attribute__((target("avx2"))) static inline unsigned control_mask32(const uint8_t *data)
{
    __m256i octets = _mm256_loadu_si256((const __m256i *)(const void *)data);
    __m256i below_space = _mm256_cmpeq_epi8(_mm256_min_epu8(octets, _mm256_set1_epi8(0x1f)), octets);
    __m256i tab = _mm256_cmpeq_epi8(octets, _mm256_set1_epi8('\t'));
    __m256i del = _mm256_cmpeq_epi8(octets, _mm256_set1_epi8(0x7f));
    return (unsigned)_mm256_movemask_epi8(_mm256_or_si256(_mm256_andnot_si256(tab, below_space), del));
}

__attribute__((target("avx2"))) size_t http_control_find_avx2(const uint8_t *data, size_t from, size_t length)
{
    for (; length - from >= 32; from += 32) {
        unsigned mask = control_mask32(data + from);
        if (mask != 0)
            return from + (size_t)__builtin_ctz(mask);
    }
    if (length < 32)
        return http_control_find_sse2(data, from, length);
    uint64_t overlap = 32 - (length - from);
    uint64_t mask = (uint64_t)control_mask32(data + length - 32) >> overlap;
    return mask != 0 ? from + (size_t)__builtin_ctzll(mask) : length;
}

bool http_control_has_avx2(void)
{
    return __builtin_cpu_supports("avx2") != 0;
}

size_t http_control_find(const uint8_t *data, size_t from, size_t length)
{
    /* Most lines end within a vector or two, where the wider one gains nothing. */
    if (length - from < 64 || !http_control_has_avx2())
        return http_control_find_sse2(data, from, length);
    return http_control_find_avx2(data, from, length);
}

/* All ones in the octets from `first` to `last`: moved to the low end of the signed numbers, one comparison tells. */
static inline __m128i in_range(__m128i octets, char first, char last)
{
    __m128i moved = _mm_add_epi8(octets, _mm_set1_epi8((char)(INT8_MIN - first)));
    return _mm_cmplt_epi8(moved, _mm_set1_epi8((char)(INT8_MIN + last - first + 1)));
}

size_t http_name_lower_sse2(uint8_t *data, size_t length, size_t readable)
{
    const __m128i places = _mm_setr_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    const __m128i lower_bit = _mm_set1_epi8(0x20);
    size_t at = 0;
    while (at < length && readable - at >= 16) {
        __m128i octets = _mm_loadu_si128((const __m128i *)(const void *)(data + at));
        __m128i letters = in_range(_mm_or_si128(octets, lower_bit), 'a', 'z');
        __m128i digits_and_dash = _mm_or_si128(in_range(octets, '0', '9'), _mm_cmpeq_epi8(octets, _mm_set1_epi8('-')));
        /* Real names are letters, digits and dashes; the table knows the rest. */
        unsigned common = (unsigned)_mm_movemask_epi8(_mm_or_si128(letters, digits_and_dash));
        size_t count = (size_t)__builtin_ctz(~common);
        if (count > length - at)
            count = length - at;
        __m128i counted = _mm_cmpgt_epi8(_mm_set1_epi8((char)count), places);
        __m128i to_lower = _mm_and_si128(_mm_and_si128(letters, counted), lower_bit);
        _mm_storeu_si128((__m128i *)(void *)(data + at), _mm_or_si128(octets, to_lower));
        at += count;
        if (count < 16)
            break;
    }
    if (at < length && data[at] == ':')
        return at;
    return at + http_name_lower_plain(data + at, length - at);
}

size_t http_name_lower(uint8_t *data, size_t length, size_t readable)
{
    return http_name_lower_sse2(data, length, readable);
}

#else

size_t http_name_lower(uint8_t *data, size_t length, size_t readable)
{
    (void)readable;
    return http_name_lower_plain(data, length);
}

size_t http_control_find(const uint8_t *data, size_t from, size_t length)
{
    return http_control_find_plain(data, from, length);
}

#endif
