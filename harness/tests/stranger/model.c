/* A device as somebody else could have written it: a PCI function with nothing but its identity, served on a vfio-user socket by plain C.
   Usage: model SOCKET. It serves one client, and ends with it. */

#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { VERSION = 1, DMA_MAP, DMA_UNMAP, DEVICE_INFO, REGION_INFO, REGION_IO_FDS, IRQ_INFO, SET_IRQS, REGION_READ, REGION_WRITE, RESET = 13 };
enum { IS_REPLY = 1, NO_REPLY = 0x10, IS_ERROR = 0x20, CONFIGURATION = 7 };

struct header { uint16_t id, command; uint32_t size, flags, error; };
struct access { uint64_t offset; uint32_t region, count; };

static unsigned char configuration[256] = {
    0x34, 0x12, 0x78, 0x56, 0, 0, 0x10, 0, 1, 0, 0, 0xff, /* vendor, device, command, status, revision, class */
    [0x2c] = 0x34, 0x12, 0x01, 0x00,
};

static int get(int client, void *to, size_t length) {
    for (size_t done = 0; done < length;) {
        ssize_t now = recv(client, (char *)to + done, length - done, 0);
        if (now <= 0) return 0;
        done += (size_t)now;
    }
    return 1;
}

/* Answers with what stands behind the header now. */
static int answer(int client, struct header *message, size_t payload) {
    if (message->flags & NO_REPLY) return 1;
    message->size = (uint32_t)(sizeof *message + payload);
    message->flags = IS_REPLY;
    return send(client, message, message->size, MSG_NOSIGNAL) == (ssize_t)message->size;
}

static int refuse(int client, struct header *message) {
    message->size = sizeof *message;
    message->flags = IS_REPLY | IS_ERROR;
    message->error = 22;
    return send(client, message, sizeof *message, MSG_NOSIGNAL) == sizeof *message;
}

static int region(int client, struct header *message, unsigned char *data) {
    struct access access;
    memcpy(&access, data, sizeof access);
    if (access.region != CONFIGURATION || access.count > sizeof configuration || access.offset > sizeof configuration - access.count)
        return refuse(client, message);
    unsigned char *bytes = data + sizeof access;
    if (message->command == REGION_READ) {
        memcpy(bytes, configuration + access.offset, access.count);
        return answer(client, message, sizeof access + access.count);
    }
    /* The command register is all that can be written. */
    for (uint32_t at = 0; at < access.count; at++)
        if (access.offset + at == 4 || access.offset + at == 5) configuration[access.offset + at] = bytes[at];
    return answer(client, message, sizeof access);
}

static int one(int client, struct header *message, unsigned char *data) {
    uint32_t words[8] = {0};
    switch (message->command) {
    case VERSION: {
        static const char reply[] = "\0\0\0\0{\"capabilities\":{}}";
        memcpy(data, reply, sizeof reply);
        return answer(client, message, sizeof reply);
    }
    case DEVICE_INFO:
        words[0] = 16, words[1] = 3, words[2] = 9, words[3] = 5; /* resettable, PCI; regions; interrupts */
        memcpy(data, words, 16);
        return answer(client, message, 16);
    case REGION_INFO:
        memcpy(words, data, 32);
        words[0] = 32, words[1] = words[2] == CONFIGURATION ? 3 : 0, words[3] = 0;
        words[4] = words[2] == CONFIGURATION ? sizeof configuration : 0, words[5] = words[6] = words[7] = 0;
        memcpy(data, words, 32);
        return answer(client, message, 32);
    case IRQ_INFO:
        memcpy(words, data, 16);
        words[0] = 16, words[1] = 0, words[3] = 0;
        memcpy(data, words, 16);
        return answer(client, message, 16);
    case REGION_READ: case REGION_WRITE:
        return region(client, message, data);
    case DMA_UNMAP:
        return answer(client, message, 24);
    case DMA_MAP: case SET_IRQS: case RESET:
        return answer(client, message, 0);
    default:
        return refuse(client, message);
    }
}

int main(int count, char **arguments) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (count != 2 || strlen(arguments[1]) >= sizeof address.sun_path) return 2;
    strcpy(address.sun_path, arguments[1]);
    int listener = socket(AF_UNIX, SOCK_STREAM, 0);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 1)) return perror("stranger's model"), 1;
    int client = accept(listener, 0, 0);
    static struct { struct header header; unsigned char data[4096]; } message;
    while (get(client, &message.header, sizeof message.header)) {
        uint32_t size = message.header.size;
        if (size < sizeof message.header || size > sizeof message || !get(client, message.data, size - sizeof message.header)) return 1;
        if (!one(client, &message.header, message.data)) return 1;
    }
    return 0;
}
