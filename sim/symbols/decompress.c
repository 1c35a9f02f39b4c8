/* The compressed kernel in a bzImage, and the formats that it can be in. */
#include <asm/bootparam.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <lz4.h>
#include <lzma.h>
#include <zlib.h>
#include <zstd.h>

#include "sim/symbols/internal.h"

#define HEADER_START   offsetof(struct boot_params, hdr)
#define HEADER_MAGIC   0x202
#define SECTOR         512u
#define PAYLOAD_FIELDS 0x0208 /* boot protocol that names the payload */

/* A kernel with all that is built in stays well below; what claims more is a bomb. */
#define UNPACKED_MAX  (1ull << 30)
#define UNPACKED_STEP (16u << 20)

bool bzimage_payload(const uint8_t *data, size_t size, size_t *start, size_t *length)
{
    struct setup_header header;

    if (size < HEADER_START + sizeof(header) || memcmp(data + HEADER_MAGIC, "HdrS", 4) != 0)
        return false;
    memcpy(&header, data + HEADER_START, sizeof(header));
    *start = ((header.setup_sects ? header.setup_sects : 4) + 1) * SECTOR +
             (size_t)header.payload_offset;
    *length = header.payload_length;
    return header.version >= PAYLOAD_FIELDS && *start <= size && *length <= size - *start;
}

/* Output that grows as it fills. */
struct output {
    uint8_t *data;
    size_t used, room;
};

static int make_room(struct output *output)
{
    uint8_t *grown;

    if (output->used < output->room)
        return 0;
    if (output->room >= UNPACKED_MAX)
        return -EBADMSG;
    grown = realloc(output->data, output->room + UNPACKED_STEP);
    if (!grown)
        return -ENOMEM;
    output->data = grown;
    output->room += UNPACKED_STEP;
    return 0;
}

static int unpack_zlib(const uint8_t *data, size_t size, struct output *output)
{
    z_stream stream = {.next_in = (uint8_t *)data, .avail_in = (uInt)size};
    int status = inflateInit2(&stream, 15 + 32) == Z_OK ? Z_OK : Z_MEM_ERROR, error = 0;

    if (status != Z_OK)
        return -ENOMEM;
    while (!error && status == Z_OK && !(error = make_room(output))) {
        stream.next_out = output->data + output->used;
        stream.avail_out = (uInt)(output->room - output->used);
        status = inflate(&stream, Z_NO_FLUSH);
        output->used = output->room - stream.avail_out;
    }
    inflateEnd(&stream);
    return error ? error : status == Z_STREAM_END ? 0 : -EBADMSG;
}

/* .xz and .lzma; a bzImage's x86 filter is named in the stream. */
static int unpack_lzma(const uint8_t *data, size_t size, struct output *output)
{
    lzma_stream stream = LZMA_STREAM_INIT;
    lzma_ret status = lzma_auto_decoder(&stream, UINT64_MAX, 0);
    int error = 0;

    stream.next_in = data;
    stream.avail_in = size;
    while (!error && status == LZMA_OK && !(error = make_room(output))) {
        stream.next_out = output->data + output->used;
        stream.avail_out = output->room - output->used;
        status = lzma_code(&stream, LZMA_RUN);
        output->used = output->room - stream.avail_out;
    }
    lzma_end(&stream);
    return error ? error : status == LZMA_STREAM_END ? 0 : -EBADMSG;
}

static int unpack_zstd(const uint8_t *data, size_t size, struct output *output)
{
    ZSTD_DStream *stream = ZSTD_createDStream();
    ZSTD_inBuffer in = {data, size, 0};
    size_t left = 1;
    int error = stream ? 0 : -ENOMEM;

    if (stream)
        ZSTD_DCtx_setParameter(stream, ZSTD_d_windowLogMax,
                               ZSTD_dParam_getBounds(ZSTD_d_windowLogMax).upperBound);
    while (!error && left != 0 && !(error = make_room(output))) {
        ZSTD_outBuffer out = {output->data, output->room, output->used};

        left = ZSTD_decompressStream(stream, &out, &in);
        if (ZSTD_isError(left) || (left && in.pos == in.size && out.pos < out.size))
            error = -EBADMSG;
        output->used = out.pos;
    }
    ZSTD_freeDStream(stream);
    return error;
}

/* The legacy format, which the kernel's build uses: blocks of at most 8 MiB, each with its
 * compressed length in front. */
#define LZ4_BLOCK (8u << 20)
static int unpack_lz4(const uint8_t *data, size_t size, struct output *output)
{
    uint8_t *block = malloc(LZ4_BLOCK);
    size_t at = 4;
    int error = block ? 0 : -ENOMEM;

    while (!error && size - at > 4) { /* what is left then is the size that the build appends */
        uint32_t length;
        int got;

        memcpy(&length, data + at, 4);
        at += 4;
        if (length > size - at)
            break;
        got = LZ4_decompress_safe((const char *)data + at, (char *)block, (int)length, LZ4_BLOCK);
        if (got < 0)
            error = -EBADMSG;
        for (int done = 0; !error && done < got;) {
            size_t part;

            if ((error = make_room(output)))
                break;
            part = output->room - output->used;
            if (part > (size_t)(got - done))
                part = (size_t)(got - done);
            memcpy(output->data + output->used, block + done, part);
            output->used += part;
            done += (int)part;
        }
        at += length;
    }
    free(block);
    return error ? error : output->used ? 0 : -EBADMSG;
}

static const struct {
    const char *name;
    uint8_t magic[6];
    unsigned length;
    int (*unpack)(const uint8_t *data, size_t size, struct output *output);
} formats[] = {
    {"gzip", {0x1f, 0x8b}, 2, unpack_zlib},
    {"xz", {0xfd, '7', 'z', 'X', 'Z', 0}, 6, unpack_lzma},
    {"lzma", {0x5d, 0, 0}, 3, unpack_lzma},
    {"zstd", {0x28, 0xb5, 0x2f, 0xfd}, 4, unpack_zstd},
    {"lz4", {0x02, 0x21, 0x4c, 0x18}, 4, unpack_lz4},
    {"bzip2", {'B', 'Z', 'h'}, 3, NULL},
    {"lzo", {0x89, 'L', 'Z', 'O'}, 4, NULL},
};

int symbols_decompress(const uint8_t *data, size_t size, uint8_t **out, size_t *out_size,
                       const char **format)
{
    struct output output = {0};
    unsigned i = 0;
    int error;

    while (i < sizeof(formats) / sizeof(*formats) &&
           (size < formats[i].length || memcmp(data, formats[i].magic, formats[i].length) != 0))
        i++;
    if (i == sizeof(formats) / sizeof(*formats))
        return -ENOENT;
    *format = formats[i].name;
    if (!formats[i].unpack)
        return -ENOTSUP;
    error = formats[i].unpack(data, size, &output);
    if (error) {
        free(output.data);
        return error;
    }
    *out = output.data;
    *out_size = output.used;
    return 0;
}
