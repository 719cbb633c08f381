/* Prints what the shim's decoder makes of inputs, for test/fuzz to compare with the TypeScript decoder.
 * stdin: inputs, each a u32 length and that many bytes, from before the preamble on. stdout: per input its
 * events in order, one line each:
 *   preamble VERSION_MIN VERSION_MAX FEATURES ROLE EPOCH
 *   frame TYPE FLAGS ID GENERATION OFFSET LENGTH SUM
 *   error header|trailer
 *   end */
#include <inttypes.h>
#include <string.h>

#include "check.h"
#include "reader.h"

#define INPUT_BYTES_MAX (1u << 20)

static void on_preamble(void *context, const struct preamble *p)
{
	(void)context;
	printf("preamble %u %u %" PRIu32 " %u ", p->version_min, p->version_max, p->features, p->role);
	for (size_t i = 0; i < sizeof p->epoch; i++)
		printf("%02x", p->epoch[i]);
	printf("\n");
}

static void on_frame(void *context, const struct frame *f)
{
	uint32_t sum = 0x811c9dc5; /* FNV-1a */

	(void)context;
	for (size_t i = 0; i < f->length; i++)
		sum = (sum ^ f->payload[i]) * 0x01000193u;
	printf("frame %u %u %" PRIu32 " %" PRIu32 " %" PRIu64 " %" PRIu32 " %" PRIu32 "\n", f->type, f->flags, f->id,
	       f->generation, f->offset, f->length, sum);
}

int main(void)
{
	static const char *const lines[] = { [VERDICT_MORE] = "", [VERDICT_HEADER] = "error header\n",
					     [VERDICT_TRAILER] = "error trailer\n" };
	const struct sink sink = { .preamble = on_preamble, .frame = on_frame };
	uint8_t word[4];
	uint32_t cuts = 0;

	while (fread(word, 1, sizeof word, stdin) == sizeof word) {
		size_t length = load32(word);
		MUST(length <= INPUT_BYTES_MAX);
		/* Of the exact size, so that the sanitizer sees the byte beyond. */
		uint8_t *bytes = malloc(length + !length);
		MUST(bytes && fread(bytes, 1, length, stdin) == length);
		printf("%send\n", lines[reader_run(bytes, length, 1, cuts++, &sink)]);
		free(bytes);
	}
	return fflush(stdout) == 0 ? 0 : 1;
}
