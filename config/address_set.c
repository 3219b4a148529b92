#include "config/address_set.h"

#include <arpa/inet.h>
#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

enum { ADDRESS_BITS = 128, MAPPED_BITS = 96, ADDRESS_TEXT_BYTES = 64 };

static const uint8_t mapped_prefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

static void map_ipv4(const void *address, uint8_t octets[16])
{
    memcpy(octets, mapped_prefix, sizeof(mapped_prefix));
    memcpy(octets + sizeof(mapped_prefix), address, 4);
}

static bool parse_address(const char *text, uint8_t octets[16], unsigned *ret_offset)
{
    struct in_addr ipv4;

    *ret_offset = 0;
    if (inet_pton(AF_INET6, text, octets) == 1)
        return true;
    if (inet_pton(AF_INET, text, &ipv4) != 1)
        return false;
    map_ipv4(&ipv4, octets);
    *ret_offset = MAPPED_BITS;
    return true;
}

static bool parse_bits(const char *text, unsigned max, unsigned *ret_bits)
{
    unsigned bits = 0;
    size_t length = strlen(text);

    if (length == 0 || length > 3 || strspn(text, "0123456789") != length)
        return false;
    for (; *text != '\0'; text++)
        bits = 10 * bits + (unsigned)(*text - '0');
    *ret_bits = bits;
    return bits <= max;
}

static void clear_host_bits(struct address_network *network)
{
    for (unsigned i = 0; i < sizeof(network->octets); i++) {
        unsigned kept = network->bits > 8 * i ? network->bits - 8 * i : 0;
        if (kept < 8)
            network->octets[i] &= (uint8_t)(0xff00 >> kept);
    }
}

bool address_network_parse(const char *text, struct address_network *ret_network, bool *ret_everyone)
{
    struct address_network network;
    char address[ADDRESS_TEXT_BYTES];
    size_t length = strcspn(text, "/");
    unsigned offset, bits;

    if (strcmp(text, "*") == 0) {
        *ret_everyone = true;
        return true;
    }
    if (length >= sizeof(address))
        return false;
    memcpy(address, text, length);
    address[length] = '\0';
    if (!parse_address(address, network.octets, &offset))
        return false;
    bits = ADDRESS_BITS - offset;
    if (text[length] == '/' && !parse_bits(text + length + 1, ADDRESS_BITS - offset, &bits))
        return false;
    network.bits = (uint8_t)(offset + bits);
    clear_host_bits(&network);
    *ret_network = network;
    *ret_everyone = false;
    return true;
}

int address_set_init(struct address_set *set, const struct string_list *items, size_t *ret_bad_index)
{
    struct address_set made = {.networks = calloc(items->count + 1, sizeof(*made.networks))};

    if (made.networks == NULL)
        return -ENOMEM;
    for (size_t i = 0; i < items->count; i++) {
        bool everyone;
        if (!address_network_parse(items->items[i], &made.networks[made.count], &everyone)) {
            address_set_deinit(&made);
            *ret_bad_index = i;
            return -EINVAL;
        }
        made.everyone |= everyone;
        made.count += !everyone;
    }
    *set = made;
    return 0;
}

void address_set_deinit(struct address_set *set)
{
    free(set->networks);
    *set = (struct address_set){};
}

static bool network_contains(const struct address_network *network, const uint8_t octets[16])
{
    unsigned whole = network->bits / 8, rest = network->bits % 8;

    if (memcmp(network->octets, octets, whole) != 0)
        return false;
    return rest == 0 || ((network->octets[whole] ^ octets[whole]) & (uint8_t)(0xff00 >> rest)) == 0;
}

static bool peer_octets(const struct sockaddr *peer, uint8_t octets[16])
{
    struct sockaddr_in ipv4;
    struct sockaddr_in6 ipv6;

    switch (peer->sa_family) {
    case AF_INET:
        memcpy(&ipv4, peer, sizeof(ipv4));
        map_ipv4(&ipv4.sin_addr, octets);
        return true;
    case AF_INET6:
        memcpy(&ipv6, peer, sizeof(ipv6));
        memcpy(octets, &ipv6.sin6_addr, 16);
        return true;
    default:
        return false;
    }
}

bool address_set_contains(const struct address_set *set, const struct sockaddr *peer)
{
    uint8_t octets[16];

    if (set->everyone || peer->sa_family == AF_UNIX)
        return true;
    if (!peer_octets(peer, octets))
        return false;
    for (size_t i = 0; i < set->count; i++)
        if (network_contains(&set->networks[i], octets))
            return true;
    return false;
}
