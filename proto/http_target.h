/*
 * HTTP target: what every version of HTTP judges alike in a request's target and authority.
 *
 * Pure: spans of the octets that were given. What runs for every request is inline.
 */
#ifndef PROTO_HTTP_TARGET_H
#define PROTO_HTTP_TARGET_H

#include "proto/http_octets.h"

/* Whether all octets may stand in a target: visible ASCII but '#' (H1-23). */
static inline bool http_target_octets_valid(struct bytes target)
{
    for (size_t i = 0; i < target.length; i++)
        if (!http_octet_is(target.data[i], OCTET_TARGET))
            return false;
    return true;
}

/* Path and query, the latter without its '?' and empty when there is none. */
static inline void http_target_split(struct bytes target, struct bytes *ret_path, struct bytes *ret_query)
{
    const uint8_t *mark = memchr(target.data, '?', target.length);
    size_t path_length = mark ? (size_t)(mark - target.data) : target.length;
    *ret_path = bytes_of(target.data, path_length);
    *ret_query = bytes_skip(target, mark ? path_length + 1 : path_length);
}

/* Whether `path` has %00, which would end it early for whoever hands it to C (H1-23). */
bool http_target_has_nul(struct bytes path);

/* Whether two authorities, both of them valid (http_host_valid()), name the same host and port. Case does not matter; a
 * port that is left out is that of the scheme. */
bool http_target_same_authority(struct bytes a, struct bytes b, bool https);

#endif
