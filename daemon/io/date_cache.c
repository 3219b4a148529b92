#include "daemon/io/date_cache.h"

/* English whatever the locale says, RFC 9110 5.6.7. */
static const char day_names[] = "SunMonTueWedThuFriSat";
static const char month_names[] = "JanFebMarAprMayJunJulAugSepOctNovDec";

#define SECOND_MIN (-62'167'219'200LL) /* 0000-01-01 00:00:00 */
#define SECOND_MAX 253'402'300'799LL   /* 9999-12-31 23:59:59 */

static char *put_name(char *to, const char *names, int index)
{
    memcpy(to, &names[3 * index], 3);
    return to + 3;
}

static char *put_number(char *to, int value, int digits)
{
    for (int i = digits - 1; i >= 0; i--, value /= 10)
        to[i] = (char)('0' + value % 10);
    return to + digits;
}

static char *put_octet(char *to, char octet)
{
    *to = octet;
    return to + 1;
}

static char *put_day(char *to, const struct tm *utc)
{
    to = put_name(to, day_names, utc->tm_wday);
    to = put_octet(put_octet(to, ','), ' ');
    to = put_octet(put_number(to, utc->tm_mday, 2), ' ');
    to = put_octet(put_name(to, month_names, utc->tm_mon), ' ');
    return put_octet(put_number(to, utc->tm_year + 1900, 4), ' ');
}

static char *put_time(char *to, const struct tm *utc)
{
    to = put_octet(put_number(to, utc->tm_hour, 2), ':');
    to = put_octet(put_number(to, utc->tm_min, 2), ':');
    return put_number(to, utc->tm_sec, 2);
}

static void render(struct date_cache *cache, time_t now)
{
    struct tm utc;
    time_t shown = now < SECOND_MIN ? SECOND_MIN : now > SECOND_MAX ? SECOND_MAX : now;
    gmtime_r(&shown, &utc);
    memcpy(put_time(put_day(cache->text, &utc), &utc), " GMT", 5);
    cache->second = now;
}

struct bytes date_cache_at(struct date_cache *cache, time_t now)
{
    if (cache->second != now || !cache->text[0])
        render(cache, now);
    return bytes_of(cache->text, DATE_CACHE_BYTES);
}
