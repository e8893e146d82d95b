/* isload: an iSCSI initiator that makes load and measures it.
 *
 * One thread, one session, one raw socket and no library, so that on a machine
 * of two processors the target, not the client, is the limit: everything that
 * has arrived is parsed in one go, and everything that follows from it leaves
 * in one writev().
 *
 * Every 512-byte block carries its own address in its first eight bytes
 * (native byte order). Reads check it and writes stamp it, so a target that
 * answers quickly with the wrong bytes measures nothing. The image has to be
 * stamped before the first read; run.py does that.
 *
 *   isload [options] iscsi://127.0.0.1:PORT/IQN/LUN
 *
 * Prints one JSON object; ends with 0, or with 1 after {"error": "..."}.
 * Only loopback addresses are accepted: it overwrites what it is given.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define BHS 48			/* basic header segment, RFC 7143 11.2.1 */
#define BLOCK 512
#define MAX_DEPTH 1024
#define MAX_IO (8u << 20)
#define MAX_PIDS 64
#define RECEIVE_LENGTH 262144	/* our MaxRecvDataSegmentLength */
#define PDUS 16384		/* PDUs that may wait to be sent */
#define IOVECS (2 * PDUS)	/* a header and a data segment each */
#define SILENCE 15000		/* ms without any answer: give up */

enum {
	SCSI_COMMAND = 0x01, LOGIN = 0x03, DATA_OUT = 0x05, LOGOUT = 0x06, NOP_OUT = 0x00,
	NOP_IN = 0x20, SCSI_RESPONSE = 0x21, LOGIN_RESPONSE = 0x23, DATA_IN = 0x25,
	LOGOUT_RESPONSE = 0x26, R2T = 0x31, IMMEDIATE = 0x40, FINAL = 0x80
};
enum { GOOD = 0x00, BUSY = 0x08, TASK_SET_FULL = 0x28 };
static const uint32_t NO_TAG = 0xffffffff;

static struct {
	int depth, random, writing, cpu, lun, port;
	uint32_t size;
	double seconds, warmup;
	char host[64], iqn[256];
	int pids[MAX_PIDS], npids;
} opt = {.depth = 1, .random = 1, .cpu = -1, .size = 4096, .seconds = 2, .warmup = 0.3};

/* One outstanding command; its index is its initiator task tag. */
struct slot {
	uint64_t begun, lba;
	uint32_t got;		/* bytes read so far */
	int busy;
	unsigned char *data;	/* what a write sends */
};

static struct {
	int fd;
	uint32_t cmdsn, expstatsn, maxcmdsn;
	/* what login agreed; the defaults of RFC 7143 chapter 13 */
	uint32_t max_send, first_burst;
	int initial_r2t, immediate_data;
	uint64_t blocks, next_lba;
	struct slot slots[MAX_DEPTH];
	int free[MAX_DEPTH], nfree, outstanding;
	unsigned char *in;	/* received and not yet parsed: in[in_at .. in_end) */
	size_t in_size, in_at, in_end;
	unsigned char (*headers)[BHS];
	struct iovec *iov;	/* to be sent: iov[iov_at .. iov_end) */
	int nheaders, iov_at, iov_end;
} s = {.cmdsn = 1, .max_send = 8192, .first_burst = 65536, .initial_r2t = 1, .immediate_data = 1};

static int measuring, stopping;
static uint64_t answered;	/* commands since the start, to notice silence */
static uint64_t measured;	/* commands in the measured span */

static void die(const char *format, ...)
{
	char text[512], *c;
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(text, sizeof text, format, arguments);
	va_end(arguments);
	for (c = text; *c; c++)
		if (*c == '"' || *c == '\\' || (unsigned char)*c < 32) *c = '\'';
	printf("{\"error\": \"%s\"}\n", text);
	exit(1);
}

static uint64_t now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + t.tv_nsec;
}

static void put24(unsigned char *p, uint32_t v) { p[0] = v >> 16; p[1] = v >> 8; p[2] = v; }
static void put32(unsigned char *p, uint32_t v) { v = htonl(v); memcpy(p, &v, 4); }
static uint32_t get24(const unsigned char *p) { return p[0] << 16 | p[1] << 8 | p[2]; }
static uint32_t get32(const unsigned char *p) { uint32_t v; memcpy(&v, p, 4); return ntohl(v); }
static uint64_t get64(const unsigned char *p) { return (uint64_t)get32(p) << 32 | get32(p + 4); }
static uint32_t padded(uint32_t n) { return (n + 3) & ~3u; }

static uint64_t random_number(void)
{
	static uint64_t x = 88172645463325252ull;	/* the same places in every run */
	x ^= x << 13; x ^= x >> 7; x ^= x << 17;
	return x;
}

/* ---- latency: a histogram of 32 buckets for each power of two of nanoseconds ---- */

static uint64_t histogram[64 * 32];

static void count_latency(uint64_t ns)
{
	int top = 63 - __builtin_clzll(ns | 32);
	histogram[(top - 4) * 32 + ((ns >> (top - 5)) & 31)]++;
}

static double latency_us(double part)
{
	uint64_t wanted = (uint64_t)(measured * part), seen = 0;
	for (int i = 32; i < 64 * 32; i++) {
		seen += histogram[i];
		if (seen > wanted) {
			int top = i / 32 + 4;
			return ((1ull << top) + ((i % 32 + 0.5) * (1ull << (top - 5)))) / 1e3;
		}
	}
	return 0;
}

/* ---- sending ---- */

static void send_queued(void)
{
	while (s.iov_at < s.iov_end) {
		int n = s.iov_end - s.iov_at;
		ssize_t sent = writev(s.fd, s.iov + s.iov_at, n > 1024 ? 1024 : n);
		if (sent < 0 && errno == EINTR) continue;
		if (sent < 0 && errno == EAGAIN) return;
		if (sent < 0) die("write: %s", strerror(errno));
		while (sent > 0) {
			struct iovec *v = &s.iov[s.iov_at];
			if ((size_t)sent < v->iov_len) {
				v->iov_base = (char *)v->iov_base + sent;
				v->iov_len -= sent;
				break;
			}
			sent -= v->iov_len;
			s.iov_at++;
		}
	}
	s.iov_at = s.iov_end = s.nheaders = 0;
}

/* Queue one PDU. Data stays where it is until it is sent; lengths are whole words. */
static void queue(const unsigned char *bhs, const unsigned char *data, uint32_t n)
{
	unsigned char *header;
	if (s.nheaders == PDUS) die("more than %d PDUs wait to be sent", PDUS);
	header = s.headers[s.nheaders++];
	memcpy(header, bhs, BHS);
	put24(header + 5, n);
	s.iov[s.iov_end++] = (struct iovec){header, BHS};
	if (n) s.iov[s.iov_end++] = (struct iovec){(void *)data, n};
}

static void put_lun(unsigned char *bhs) { bhs[9] = opt.lun; }

/* One burst of Data-Out PDUs: bytes [from, from + n) of a write, RFC 7143 11.7 */
static void send_burst(uint32_t itt, uint32_t ttt, uint32_t from, uint32_t n)
{
	for (uint32_t data_sn = 0; n; data_sn++) {
		unsigned char bhs[BHS] = {DATA_OUT};
		uint32_t part = n < s.max_send ? n : s.max_send;
		if (part == n) bhs[1] = FINAL;
		put_lun(bhs);
		put32(bhs + 16, itt);
		put32(bhs + 20, ttt);
		put32(bhs + 28, s.expstatsn);
		put32(bhs + 36, data_sn);
		put32(bhs + 40, from);
		queue(bhs, s.slots[itt].data + from, part);
		from += part;
		n -= part;
	}
}

/* READ(10) or WRITE(10) with all the unsolicited data that login allowed */
static void send_command(uint32_t itt)
{
	struct slot *slot = &s.slots[itt];
	unsigned char bhs[BHS] = {SCSI_COMMAND, FINAL | (opt.writing ? 0x20 : 0x40) | 1 /* simple */};
	uint32_t immediate = 0, unsolicited = 0, count = opt.size / BLOCK;

	put_lun(bhs);
	put32(bhs + 16, itt);
	put32(bhs + 20, opt.size);
	put32(bhs + 24, s.cmdsn++);
	put32(bhs + 28, s.expstatsn);
	bhs[32] = opt.writing ? 0x2a : 0x28;
	put32(bhs + 34, slot->lba);
	bhs[39] = count >> 8;
	bhs[40] = count;
	if (opt.writing) {
		uint32_t first = opt.size < s.first_burst ? opt.size : s.first_burst;
		for (uint32_t i = 0; i < count; i++) {
			uint64_t address = slot->lba + i;
			memcpy(slot->data + i * BLOCK, &address, sizeof address);
		}
		if (s.immediate_data) immediate = first < s.max_send ? first : s.max_send;
		if (!s.initial_r2t) unsolicited = first - immediate;
		if (unsolicited) bhs[1] &= ~FINAL;	/* Data-Out follows without an R2T */
	}
	queue(bhs, slot->data, immediate);
	send_burst(itt, NO_TAG, immediate, unsolicited);
}

/* Start commands while the queue depth and the command window allow */
static void start_commands(void)
{
	uint64_t count = opt.size / BLOCK, places = s.blocks / count;
	while (!stopping && s.nfree && (int32_t)(s.maxcmdsn - s.cmdsn) >= 0) {
		int itt = s.free[--s.nfree];
		struct slot *slot = &s.slots[itt];
		if (opt.random) {
			slot->lba = (random_number() >> 11) % places * count;
		} else {
			if (s.next_lba + count > s.blocks) s.next_lba = 0;
			slot->lba = s.next_lba;
			s.next_lba += count;
		}
		slot->busy = 1;
		slot->got = 0;
		slot->begun = now_ns();
		s.outstanding++;
		send_command(itt);
	}
}

/* ---- receiving ---- */

static void finish(uint32_t itt, int status, const unsigned char *sense, uint32_t n)
{
	struct slot *slot = &s.slots[itt];
	if (status == BUSY || status == TASK_SET_FULL) {
		slot->got = 0;
		send_command(itt);
		return;
	}
	if (status != GOOD)
		die("status %02x, sense %x/%02x/%02x", status, n > 4 ? sense[4] & 15 : 0,
		    n > 14 ? sense[14] : 0, n > 15 ? sense[15] : 0);
	if (!opt.writing && slot->got != opt.size) die("a read of %u bytes gave %u", opt.size, slot->got);
	slot->busy = 0;
	s.free[s.nfree++] = itt;
	s.outstanding--;
	answered++;
	if (measuring) {
		measured++;
		count_latency(now_ns() - slot->begun);
	}
}

static void check_blocks(const struct slot *slot, uint32_t from, const unsigned char *data, uint32_t n)
{
	for (uint32_t at = -from & (BLOCK - 1); at + 8 <= n; at += BLOCK) {
		uint64_t found, expected = slot->lba + (from + at) / BLOCK;
		memcpy(&found, data + at, sizeof found);
		if (found != expected)
			die("block %llu holds the stamp of block %llu", (unsigned long long)expected,
			    (unsigned long long)found);
	}
}

static void note_numbers(const unsigned char *bhs, int has_status)
{
	if ((int32_t)(get32(bhs + 32) - s.maxcmdsn) > 0) s.maxcmdsn = get32(bhs + 32);
	if (has_status) s.expstatsn = get32(bhs + 24) + 1;
}

static struct slot *slot_of(uint32_t itt)
{
	if (itt >= (uint32_t)opt.depth || !s.slots[itt].busy) die("an answer to the unknown task %08x", itt);
	return &s.slots[itt];
}

static void answer_ping(const unsigned char *bhs)
{
	unsigned char reply[BHS] = {NOP_OUT | IMMEDIATE, FINAL};
	if (get32(bhs + 20) == NO_TAG) return;
	memcpy(reply + 8, bhs + 8, 8);
	put32(reply + 16, NO_TAG);
	memcpy(reply + 20, bhs + 20, 4);
	put32(reply + 24, s.cmdsn);
	put32(reply + 28, s.expstatsn);
	queue(reply, NULL, 0);
}

static void receive_pdu(const unsigned char *bhs, const unsigned char *data, uint32_t n)
{
	uint32_t itt = get32(bhs + 16);
	struct slot *slot;
	switch (bhs[0] & 0x3f) {
	case DATA_IN:
		note_numbers(bhs, bhs[1] & 1);
		slot = slot_of(itt);
		check_blocks(slot, get32(bhs + 40), data, n);
		slot->got += n;
		if (bhs[1] & 1) finish(itt, bhs[3], NULL, 0);
		return;
	case SCSI_RESPONSE:
		note_numbers(bhs, 1);
		slot_of(itt);
		if (bhs[2]) die("iSCSI response %02x", bhs[2]);
		finish(itt, bhs[3], data, n);
		return;
	case R2T: {
		uint32_t from = get32(bhs + 40), length = get32(bhs + 44);
		note_numbers(bhs, 0);
		slot_of(itt);
		if (!opt.writing || from > opt.size || length > opt.size - from) die("a bad R2T");
		send_burst(itt, get32(bhs + 20), from, length);
		return;
	}
	case NOP_IN:
		note_numbers(bhs, itt != NO_TAG);
		answer_ping(bhs);
		return;
	default:
		die("unexpected PDU, opcode %02x", bhs[0]);
	}
}

static void receive(void)
{
	ssize_t n = recv(s.fd, s.in + s.in_end, s.in_size - s.in_end, 0);
	if (n == 0) die("the target closed the connection");
	if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
	if (n < 0) die("read: %s", strerror(errno));
	s.in_end += n;
	for (;;) {
		unsigned char *bhs = s.in + s.in_at;
		size_t have = s.in_end - s.in_at, need = BHS;
		if (have < need) break;
		need += bhs[4] * 4 + padded(get24(bhs + 5));
		if (need > s.in_size / 2) die("a PDU of %zu bytes", need);
		if (have < need) break;
		receive_pdu(bhs, bhs + BHS + bhs[4] * 4, get24(bhs + 5));
		s.in_at += need;
	}
	if (s.in_at == s.in_end) {
		s.in_at = s.in_end = 0;
	} else if (s.in_size - s.in_end < s.in_size / 2) {
		memmove(s.in, s.in + s.in_at, s.in_end - s.in_at);
		s.in_end -= s.in_at;
		s.in_at = 0;
	}
}

/* ---- login, capacity and logout: blocking, one PDU at a time ---- */

static void send_all(const void *p, size_t n)
{
	if (send(s.fd, p, n, MSG_NOSIGNAL) != (ssize_t)n) die("send: %s", strerror(errno));
}

static void receive_all(void *p, size_t n)
{
	ssize_t got = n ? recv(s.fd, p, n, MSG_WAITALL) : 0;
	if (got != (ssize_t)n) die("recv: %s", got < 0 ? strerror(errno) : "the target closed the connection");
}

/* The next PDU; returns the length of its data, which is followed by a zero byte */
static uint32_t receive_one(unsigned char *bhs, unsigned char *data, size_t size)
{
	uint32_t n;
	receive_all(bhs, BHS);
	n = get24(bhs + 5);
	if (padded(n) >= size) die("%u bytes of data in opcode %02x", n, bhs[0]);
	receive_all(data, padded(n));
	data[n] = 0;
	return n;
}

static void take_key(const char *key, const char *value)
{
	if (!strcmp(key, "MaxRecvDataSegmentLength")) s.max_send = atoi(value);
	else if (!strcmp(key, "FirstBurstLength")) s.first_burst = atoi(value);
	else if (!strcmp(key, "InitialR2T")) s.initial_r2t = !strcmp(value, "Yes");
	else if (!strcmp(key, "ImmediateData")) s.immediate_data = !strcmp(value, "Yes");
}

static void dial(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(opt.port)};
	struct timeval limit = {.tv_sec = 15};
	int one = 1;
	if (inet_pton(AF_INET, opt.host, &address.sin_addr) != 1 ||
	    ntohl(address.sin_addr.s_addr) >> 24 != 127)
		die("not a loopback address: %s", opt.host);
	s.fd = socket(AF_INET, SOCK_STREAM, 0);
	setsockopt(s.fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
	setsockopt(s.fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	if (connect(s.fd, (void *)&address, sizeof address)) die("connect: %s", strerror(errno));
}

/* Both stages, one request each as long as the target agrees; no digests */
static void login(void)
{
	char keys[1024];
	unsigned char bhs[BHS], data[8193];
	int stage = 0, ask = 1, rounds = 0;

	dial();
	while (stage != 3) {
		int n = 0;
		if (++rounds > 10) die("login takes more than 10 rounds");
#define KEY(...) n += snprintf(keys + n, sizeof keys - n, __VA_ARGS__) + 1
		if (ask && stage == 0) {
			KEY("InitiatorName=iqn.2004-09.com.example:isload");
			KEY("TargetName=%s", opt.iqn);
			KEY("SessionType=Normal");
			KEY("AuthMethod=None");
		} else if (ask) {
			KEY("HeaderDigest=None");
			KEY("DataDigest=None");
			KEY("InitialR2T=No");
			KEY("ImmediateData=Yes");
			KEY("MaxRecvDataSegmentLength=%d", RECEIVE_LENGTH);
			KEY("MaxBurstLength=1048576");
			KEY("FirstBurstLength=262144");
			KEY("MaxOutstandingR2T=8");
			KEY("ErrorRecoveryLevel=0");
		}
#undef KEY
		memset(keys + n, 0, 4);
		memset(bhs, 0, BHS);
		bhs[0] = LOGIN | IMMEDIATE;
		bhs[1] = 0x80 | stage << 2 | (stage ? 3 : 1);
		put24(bhs + 5, n);
		bhs[8] = 0x80;				/* ISID: the random type, */
		put24(bhs + 9, getpid() & 0xffffff);	/* a session of its own for every run */
		put32(bhs + 16, 1);
		put32(bhs + 24, s.cmdsn);
		put32(bhs + 28, s.expstatsn);
		send_all(bhs, BHS);
		send_all(keys, padded(n));
		uint32_t length = receive_one(bhs, data, sizeof data);
		if ((bhs[0] & 0x3f) != LOGIN_RESPONSE) die("no login response but opcode %02x", bhs[0]);
		if (bhs[36]) die("login refused: %02x%02x", bhs[36], bhs[37]);
		s.expstatsn = get32(bhs + 24) + 1;
		s.maxcmdsn = get32(bhs + 32);
		for (uint32_t at = 0; at < length;) {
			char *key = (char *)data + at, *value = strchr(key, '=');
			at += strlen(key) + 1;
			if (value) {
				*value = 0;
				take_key(key, value + 1);
			}
		}
		ask = bhs[1] >> 7;		/* else: not yet; go on with an empty request */
		if (ask) stage = bhs[1] & 3;
	}
}

/* A command without data or with up to `max` bytes of Data-In; returns its status */
static int command(const unsigned char *cdb, int cdb_length, unsigned char *in, uint32_t max)
{
	unsigned char bhs[BHS] = {SCSI_COMMAND, FINAL | (max ? 0x40 : 0) | 1}, data[8193];
	put_lun(bhs);
	put32(bhs + 16, MAX_DEPTH);
	put32(bhs + 20, max);
	put32(bhs + 24, s.cmdsn++);
	put32(bhs + 28, s.expstatsn);
	memcpy(bhs + 32, cdb, cdb_length);
	send_all(bhs, BHS);
	for (;;) {
		uint32_t n = receive_one(bhs, data, sizeof data);
		switch (bhs[0] & 0x3f) {
		case DATA_IN:
			note_numbers(bhs, bhs[1] & 1);
			memcpy(in, data, n < max ? n : max);
			if (bhs[1] & 1) return bhs[3];
			break;
		case SCSI_RESPONSE:
			note_numbers(bhs, 1);
			return bhs[3];
		case NOP_IN:
			note_numbers(bhs, 0);
			break;
		default:
			die("unexpected PDU, opcode %02x", bhs[0]);
		}
	}
}

static void find_capacity(void)
{
	const unsigned char ready[6] = {0}, capacity[16] = {0x9e, 0x10, [13] = 32};
	unsigned char answer[32] = {0};
	int tries = 10;		/* the first ones take the unit attentions */
	while (command(ready, sizeof ready, NULL, 0) != GOOD)
		if (!--tries) die("LUN %d does not become ready", opt.lun);
	if (command(capacity, sizeof capacity, answer, sizeof answer) != GOOD) die("READ CAPACITY(16) failed");
	if (get32(answer + 8) != BLOCK) die("blocks of %u bytes", get32(answer + 8));
	s.blocks = get64(answer) + 1;
	if (s.blocks > UINT32_MAX || s.blocks < opt.size / BLOCK) die("a LUN of %llu blocks", (unsigned long long)s.blocks);
}

static void logout(void)
{
	unsigned char bhs[BHS] = {LOGOUT | IMMEDIATE, FINAL}, data[8193];
	fcntl(s.fd, F_SETFL, 0);
	put32(bhs + 16, MAX_DEPTH + 1);
	put32(bhs + 24, s.cmdsn);
	put32(bhs + 28, s.expstatsn);
	send_all(bhs, BHS);
	do receive_one(bhs, data, sizeof data); while ((bhs[0] & 0x3f) != LOGOUT_RESPONSE);
	close(s.fd);
}

/* ---- who used how much processor time ---- */

struct account { double target, client, machine, stolen; uint64_t ns; };

/* User and system time of a process, all its threads together */
static double process_seconds(int pid)
{
	char path[64], text[1024], *end_of_name;
	unsigned long user, kernel;
	FILE *file;
	size_t n;
	snprintf(path, sizeof path, "/proc/%d/stat", pid);
	if (!(file = fopen(path, "r"))) return 0;
	n = fread(text, 1, sizeof text - 1, file);
	fclose(file);
	text[n] = 0;
	end_of_name = strrchr(text, ')');
	if (!end_of_name || sscanf(end_of_name + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu",
				   &user, &kernel) != 2)
		return 0;
	return (double)(user + kernel) / sysconf(_SC_CLK_TCK);
}

static struct account take_account(void)
{
	struct account a = {.ns = now_ns()};
	struct rusage own;
	unsigned long v[8] = {0};
	double tick = sysconf(_SC_CLK_TCK);
	FILE *file = fopen("/proc/stat", "r");
	if (file) {
		if (fscanf(file, "cpu %lu %lu %lu %lu %lu %lu %lu %lu", v, v + 1, v + 2, v + 3, v + 4, v + 5,
			   v + 6, v + 7) == 8) {
			a.machine = (v[0] + v[1] + v[2] + v[5] + v[6]) / tick;
			a.stolen = v[7] / tick;
		}
		fclose(file);
	}
	for (int i = 0; i < opt.npids; i++) a.target += process_seconds(opt.pids[i]);
	getrusage(RUSAGE_SELF, &own);
	a.client = own.ru_utime.tv_sec + own.ru_stime.tv_sec + (own.ru_utime.tv_usec + own.ru_stime.tv_usec) / 1e6;
	return a;
}

static void report(struct account a, struct account b)
{
	double seconds = (b.ns - a.ns) / 1e9, target = b.target - a.target, client = b.client - a.client;
	double others = b.machine - a.machine - target - client;
	printf("{\"ios\": %llu, \"seconds\": %.4f, \"iops\": %.1f, \"mib_s\": %.2f, \"p50_us\": %.1f, "
	       "\"p99_us\": %.1f, \"client_cpu_s\": %.3f, \"target_cpu_s\": %.3f, \"others_cpu_s\": %.3f}\n",
	       (unsigned long long)measured, seconds, measured / seconds,
	       measured * (double)opt.size / seconds / 1048576, latency_us(.5), latency_us(.99), client,
	       target, (others < 0 ? 0 : others) + b.stolen - a.stolen);
}

/* ---- main ---- */

static void usage(void)
{
	fprintf(stderr,
		"isload [options] iscsi://127.0.0.1:PORT/IQN/LUN\n"
		"  --write          write instead of reading\n"
		"  --sequential     instead of at random\n"
		"  --size BYTES     of one command (4096)\n"
		"  --depth N        commands outstanding (1)\n"
		"  --seconds S      measured (2), after\n"
		"  --warmup S       (0.3)\n"
		"  --cpu N          run on this processor\n"
		"  --pids A,B,...   account these processes as the target\n");
	exit(2);
}

static void parse_options(int argc, char **argv)
{
	static const struct option known[] = {
		{"write", 0, 0, 'w'}, {"sequential", 0, 0, 'q'}, {"size", 1, 0, 'b'}, {"depth", 1, 0, 'd'},
		{"seconds", 1, 0, 't'}, {"warmup", 1, 0, 'u'}, {"cpu", 1, 0, 'c'}, {"pids", 1, 0, 'p'}, {0}};
	int c;
	while ((c = getopt_long(argc, argv, "", known, NULL)) != -1) switch (c) {
	case 'w': opt.writing = 1; break;
	case 'q': opt.random = 0; break;
	case 'b': opt.size = atoi(optarg); break;
	case 'd': opt.depth = atoi(optarg); break;
	case 't': opt.seconds = atof(optarg); break;
	case 'u': opt.warmup = atof(optarg); break;
	case 'c': opt.cpu = atoi(optarg); break;
	case 'p':
		for (char *p = strtok(optarg, ","); p && opt.npids < MAX_PIDS; p = strtok(NULL, ","))
			opt.pids[opt.npids++] = atoi(p);
		break;
	default: usage();
	}
	if (optind + 1 != argc ||
	    sscanf(argv[optind], "iscsi://%63[^:]:%d/%255[^/]/%d", opt.host, &opt.port, opt.iqn, &opt.lun) != 4 ||
	    opt.depth < 1 || opt.depth > MAX_DEPTH || opt.size < BLOCK || opt.size % BLOCK || opt.size > MAX_IO ||
	    opt.lun < 0 || opt.lun > 255 || opt.seconds <= 0 || opt.seconds > 600)
		usage();
}

static void prepare(void)
{
	if (opt.cpu >= 0) {
		cpu_set_t set;
		CPU_ZERO(&set);
		CPU_SET(opt.cpu, &set);
		if (sched_setaffinity(0, sizeof set, &set)) die("processor %d: %s", opt.cpu, strerror(errno));
	}
	s.in_size = 4 * RECEIVE_LENGTH;
	s.in = malloc(s.in_size);
	s.headers = malloc(PDUS * sizeof *s.headers);
	s.iov = malloc(IOVECS * sizeof *s.iov);
	for (int i = opt.depth - 1; i >= 0; i--) {
		s.free[s.nfree++] = i;
		s.slots[i].data = malloc(opt.size);
		memset(s.slots[i].data, 0x5a + i, opt.size);
	}
}

int main(int argc, char **argv)
{
	struct account first = {0}, last = {0};
	uint64_t start, end, progress = 0, progress_at;

	parse_options(argc, argv);
	prepare();
	login();
	find_capacity();
	fcntl(s.fd, F_SETFL, O_NONBLOCK);

	progress_at = now_ns();
	start = progress_at + (uint64_t)(opt.warmup * 1e9);
	end = start + (uint64_t)(opt.seconds * 1e9);
	start_commands();
	send_queued();
	while (s.outstanding) {
		struct pollfd wait = {.fd = s.fd, .events = POLLIN | (s.iov_end ? POLLOUT : 0)};
		uint64_t now;
		if (poll(&wait, 1, 200) > 0 && wait.revents & ~POLLOUT) receive();
		now = now_ns();
		if (!measuring && !stopping && now >= start) {
			first = take_account();
			measuring = 1;
		} else if (measuring && now >= end) {
			last = take_account();
			measuring = 0;
			stopping = 1;
		}
		start_commands();
		send_queued();
		if (answered != progress) {
			progress = answered;
			progress_at = now;
		} else if (now - progress_at > SILENCE * 1000000ull) {
			die("no answer for %d s", SILENCE / 1000);
		}
	}
	logout();
	report(first, last);
	return 0;
}
