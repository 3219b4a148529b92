#include "proto/http_target.h"

#include "proto/http_octets.h"

enum { PORT_HTTP = 80, PORT_HTTPS = 443 };

bool http_target_has_nul(struct bytes path)
{
    for (;;) {
        const uint8_t *percent = memchr(path.data, '%', path.length);
        if (!percent)
            return false;
        path = bytes_skip(path, (size_t)(percent - path.data) + 1);
        if (path.length >= 2 && path.data[0] == '0' && path.data[1] == '0')
            return true;
    }
}

/* The port, of the scheme where none is written, and the name before it. */
static uint32_t split_authority(struct bytes authority, bool https, struct bytes *ret_name)
{
    size_t length = authority.length;
    while (length > 0 && http_octet_is(authority.data[length - 1], OCTET_DIGIT))
        length--;
    bool has_port = length > 0 && authority.data[length - 1] == ':';
    uint32_t port = 0;
    for (size_t i = length; has_port && i < authority.length; i++)
        port = port * 10 + (authority.data[i] - '0');
    *ret_name = bytes_of(authority.data, has_port ? length - 1 : authority.length);
    if (!has_port || length == authority.length)
        return https ? PORT_HTTPS : PORT_HTTP;
    return port;
}

bool http_target_same_authority(struct bytes a, struct bytes b, bool https)
{
    struct bytes name_a, name_b;
    uint32_t port_a = split_authority(a, https, &name_a);
    uint32_t port_b = split_authority(b, https, &name_b);
    if (port_a != port_b || name_a.length != name_b.length)
        return false;
    for (size_t i = 0; i < name_a.length; i++)
        if (bytes_lower(name_a.data[i]) != bytes_lower(name_b.data[i]))
            return false;
    return true;
}
