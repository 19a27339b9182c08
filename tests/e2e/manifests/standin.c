/* The program that stands in for every command of a manifest: it tells what it was given.
 *
 * It prints one JSON object as "standin ID PART/PARTS |TEXT|" lines: arguments, environment, identities,
 * capabilities, mounts, namespaces, name and resolver. What it then does depends on its role:
 *   main  serves every port that its line of /.standin names, until SIGTERM, and prints what it is asked;
 *         one listener speaks HTTP, HTTPS and gRPC's health protocol, by the first bytes that come
 *   init  does what an installer does: `cp FROM TO` copies, other commands plant what mains will run;
 *         then it ends with success
 *   exec  a hook or an exec probe, run beside a main: hands its telling to that, and ends with success
 * /.standin has a line for each command of the image, tab-separated: role, ports, paths to plant, and its
 * words, in which \1 stands for any text, and \n \t \\ are escaped.
 * The first process of a container binds an abstract socket named after its mount namespace; who finds
 * it bound is an exec.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <ifaddrs.h>
#include <libgen.h>
#include <mbedtls/ctr_drbg.h>
#include <mbedtls/entropy.h>
#include <mbedtls/ssl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#define MOST_PORTS 32

static volatile sig_atomic_t ended;
static char role[16] = "stranger", ports[1024] = "", plants[4096] = "";
static FILE *out; /* the JSON text that is being written */

static void on_term(int signal) { (void)signal, ended = 1; }

static char *slurp(const char *path, size_t *length) {
  FILE *file = fopen(path, "r");
  char *text = NULL;
  size_t size = 0;
  if (file != NULL) {
    FILE *into = open_memstream(&text, &size);
    char part[4096];
    for (size_t n; (n = fread(part, 1, sizeof part, file)) > 0;) fwrite(part, 1, n, into);
    fclose(into), fclose(file);
  }
  if (length != NULL) *length = size;
  return text == NULL ? strdup("") : text;
}

/* ---------------------------------------------------------------------------------- telling */

static void string(const char *text) {
  putc('"', out);
  for (const unsigned char *at = (const void *)text; *at; at++) {
    if (*at == '"' || *at == '\\') fprintf(out, "\\%c", *at);
    else if (*at < 0x20 || *at >= 0x7f) fprintf(out, "\\u%04x", *at); /* bytes as Latin-1 */
    else putc(*at, out);
  }
  putc('"', out);
}

static void strings(const char *key, char **texts) {
  fprintf(out, ",\"%s\":[", key);
  for (int i = 0; texts[i] != NULL; i++) {
    if (i) putc(',', out);
    string(texts[i]);
  }
  putc(']', out);
}

static void text(const char *key, const char *value) {
  fprintf(out, ",\"%s\":", key), string(value);
}

static void file(const char *key, const char *path) {
  char *all = slurp(path, NULL);
  text(key, all), free(all);
}

static void namespaces(void) {
  static const char *const all[] = {"net", "pid", "ipc", "mnt", "uts", "user", "cgroup"};
  fprintf(out, ",\"ns\":{");
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
    char path[64];
    struct stat seen = {0};
    snprintf(path, sizeof path, "/proc/self/ns/%s", all[i]);
    stat(path, &seen);
    fprintf(out, "%s\"%s\":%lu", i ? "," : "", all[i], (unsigned long)seen.st_ino);
  }
  putc('}', out);
}

static void places(void) { /* what lies at each mount point: the same object has the same numbers */
  FILE *lines = fopen("/proc/self/mountinfo", "r");
  char *line = NULL;
  size_t size = 0;
  int first = 1;
  fprintf(out, ",\"places\":[");
  while (lines != NULL && getline(&line, &size, lines) > 0) {
    char target[4096];
    struct stat seen;
    if (sscanf(line, "%*s %*s %*s %*s %4095s", target) != 1 || lstat(target, &seen) != 0) continue;
    fprintf(out, "%s[", first ? "" : ","), string(target), first = 0;
    fprintf(out, ",%lu,%lu,\"%o\",%u,%u]", (unsigned long)seen.st_dev, (unsigned long)seen.st_ino,
            seen.st_mode & 07777, seen.st_uid, seen.st_gid);
  }
  putc(']', out);
  if (lines != NULL) fclose(lines);
}

static void addresses(void) {
  struct ifaddrs *all = NULL;
  char shown[INET_ADDRSTRLEN];
  int first = 1;
  fprintf(out, ",\"addresses\":[");
  if (getifaddrs(&all) == 0)
    for (struct ifaddrs *at = all; at != NULL; at = at->ifa_next)
      if (at->ifa_addr != NULL && at->ifa_addr->sa_family == AF_INET) {
        inet_ntop(AF_INET, &((struct sockaddr_in *)at->ifa_addr)->sin_addr, shown, sizeof shown);
        fprintf(out, "%s\"%s\"", first ? "" : ",", shown), first = 0;
      }
  putc(']', out);
}

static char *telling(char **argv, char **environ_, int whole) {
  char *told = NULL, cwd[4096] = "";
  size_t size;
  struct timespec now;
  struct utsname host;
  gid_t groups[256];
  out = open_memstream(&told, &size);
  clock_gettime(CLOCK_BOOTTIME, &now), uname(&host);
  if (getcwd(cwd, sizeof cwd) == NULL) cwd[0] = 0;
  fprintf(out, "{\"role\":\"%s\",\"at\":%ld.%09ld,\"uid\":%d,\"gid\":%d", role, (long)now.tv_sec,
          now.tv_nsec, geteuid(), getegid());
  fprintf(out, ",\"tty\":%d,\"groups\":[", isatty(1));
  int count = getgroups(256, groups);
  for (int i = 0; i < count; i++) fprintf(out, "%s%u", i ? "," : "", groups[i]);
  putc(']', out);
  text("cwd", cwd), text("hostname", host.nodename);
  strings("argv", argv), strings("env", environ_), namespaces(), file("status", "/proc/self/status");
  if (whole) {
    file("mountinfo", "/proc/self/mountinfo"), file("resolv", "/etc/resolv.conf");
    file("hosts", "/etc/hosts"), file("oom", "/proc/self/oom_score_adj");
    file("apparmor", "/proc/self/attr/current"), places(), addresses();
  }
  putc('}', out), fclose(out);
  return told;
}

static void print(const char *told) {
  static int serial;
  struct timespec now;
  clock_gettime(CLOCK_BOOTTIME, &now);
  size_t length = strlen(told), part = 1200, parts = length / part + 1;
  serial++;
  for (size_t i = 0; i < parts; i++) {
    printf("standin %d-%ld%09ld-%d %zu/%zu |%.*s|\n", getpid(), (long)now.tv_sec, now.tv_nsec, serial,
           i + 1, parts, (int)part, told + i * part);
    fflush(stdout);
  }
}

static void asked(const char *how, int port, const char *head) {
  char *told = NULL;
  size_t size;
  out = open_memstream(&told, &size);
  fprintf(out, "{\"role\":\"asked\",\"how\":\"%s\",\"port\":%d", how, port);
  text("head", head), putc('}', out), fclose(out);
  print(told), free(told);
}

/* ------------------------------------------------------------------------- which container */

static void unescape(char *word) {
  char *to = word;
  for (char *at = word; *at; at++) {
    if (*at == '\\' && at[1]) at++, *to++ = *at == 'n' ? '\n' : *at == 't' ? '\t' : *at;
    else *to++ = *at;
  }
  *to = 0;
}

static int matches(const char *pattern, const char *word) {
  if (*pattern == 1) {
    for (const char *at = word;; at++) {
      if (matches(pattern + 1, at)) return 1;
      if (*at == 0) return 0;
    }
  }
  if (*pattern != *word) return 0;
  return *pattern == 0 || matches(pattern + 1, word + 1);
}

static void find_self(int argc, char **argv) {
  char *lines = slurp("/.standin", NULL), *rest = lines, *line;
  while ((line = strsep(&rest, "\n")) != NULL) {
    char *fields[3], *word;
    int i = 0, same = 1;
    for (int f = 0; f < 3; f++) fields[f] = strsep(&line, "\t");
    if (fields[2] == NULL) continue;
    while (line != NULL && (word = strsep(&line, "\t")) != NULL) {
      unescape(word);
      same = same && i < argc && matches(word, argv[i]), i++;
    }
    if (!same || i != argc) continue;
    snprintf(role, sizeof role, "%s", fields[0]), snprintf(ports, sizeof ports, "%s", fields[1]);
    snprintf(plants, sizeof plants, "%s", fields[2]);
    break;
  }
  free(lines);
}

/* ------------------------------------------------------------------------------- installing */

static void copy(const char *from, const char *to) {
  char target[8192], *base = strdup(from);
  struct stat seen;
  size_t length;
  snprintf(target, sizeof target, "%s", to);
  if (stat(to, &seen) == 0 && S_ISDIR(seen.st_mode))
    snprintf(target, sizeof target, "%s/%s", to, basename(base));
  free(base);
  char *all = slurp(from, &length);
  unlink(target);
  int into = open(target, O_WRONLY | O_CREAT | O_TRUNC, 0755);
  if (into < 0 || write(into, all, length) != (ssize_t)length)
    fprintf(stderr, "standin: cannot copy %s to %s: %s\n", from, target, strerror(errno));
  if (into >= 0) close(into);
  free(all);
}

static void install(int argc, char **argv) {
  char *own = strdup(argv[0]);
  if (argc >= 3 && strncmp(basename(own), "cp", 2) == 0 && access(argv[argc - 2], F_OK) == 0)
    copy(argv[argc - 2], argv[argc - 1]);
  free(own);
  char *rest = plants, *path;
  while ((path = strsep(&rest, ",")) != NULL)
    if (*path && access(path, F_OK) != 0) copy("/proc/self/exe", path);
}

/* ---------------------------------------------------------------------------------- serving */

static mbedtls_ssl_config tls;

static int tls_setup(void) {
  static mbedtls_entropy_context entropy;
  static mbedtls_ctr_drbg_context random;
  static mbedtls_x509_crt certificate;
  static mbedtls_pk_context key;
  mbedtls_entropy_init(&entropy), mbedtls_ctr_drbg_init(&random), mbedtls_ssl_config_init(&tls);
  mbedtls_x509_crt_init(&certificate), mbedtls_pk_init(&key);
  return mbedtls_ctr_drbg_seed(&random, mbedtls_entropy_func, &entropy, NULL, 0) != 0 ||
         mbedtls_x509_crt_parse_file(&certificate, "/.standin.pem") != 0 ||
         mbedtls_pk_parse_keyfile(&key, "/.standin.pem", NULL) != 0 ||
         mbedtls_ssl_config_defaults(&tls, MBEDTLS_SSL_IS_SERVER, MBEDTLS_SSL_TRANSPORT_STREAM,
                                     MBEDTLS_SSL_PRESET_DEFAULT) != 0 ||
         (mbedtls_ssl_conf_rng(&tls, mbedtls_ctr_drbg_random, &random),
          mbedtls_ssl_conf_own_cert(&tls, &certificate, &key)) != 0;
}

static int tls_read(void *from, unsigned char *into, size_t size) {
  ssize_t n = recv(*(int *)from, into, size, 0);
  return n < 0 ? MBEDTLS_ERR_SSL_INTERNAL_ERROR : (int)n;
}

static int tls_write(void *to, const unsigned char *all, size_t size) {
  ssize_t n = send(*(int *)to, all, size, MSG_NOSIGNAL);
  return n < 0 ? MBEDTLS_ERR_SSL_INTERNAL_ERROR : (int)n;
}

static const char REPLY[] = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 3\r\n"
                            "Connection: close\r\n\r\nok\n";

static int complete(const char *head) { return strstr(head, "\r\n\r\n") || strstr(head, "\n\n"); }

static void serve_http(int peer, int port) {
  char head[8192] = "";
  size_t length = 0;
  ssize_t n;
  while (!complete(head) && (n = recv(peer, head + length, sizeof head - 1 - length, 0)) > 0)
    head[length += (size_t)n] = 0;
  if (length) send(peer, REPLY, sizeof REPLY - 1, MSG_NOSIGNAL);
  asked(length ? "http" : "tcp", port, head);
}

static void serve_https(int peer, int port) {
  char head[8192] = "";
  int length = 0, n;
  mbedtls_ssl_context ssl;
  mbedtls_ssl_init(&ssl);
  if (mbedtls_ssl_setup(&ssl, &tls) == 0) {
    mbedtls_ssl_set_bio(&ssl, &peer, tls_write, tls_read, NULL);
    while (!complete(head) && (n = mbedtls_ssl_read(&ssl, (unsigned char *)head + length,
                                                    sizeof head - 1 - (size_t)length)) > 0)
      head[length += n] = 0;
    if (length) mbedtls_ssl_write(&ssl, (const unsigned char *)REPLY, sizeof REPLY - 1);
    mbedtls_ssl_close_notify(&ssl);
  }
  asked("https", port, head), mbedtls_ssl_free(&ssl);
}

static void frame(int peer, size_t size, int kind, int flags, uint32_t stream, const void *body) {
  unsigned char head[9] = {(unsigned char)(size >> 16), (unsigned char)(size >> 8),
                           (unsigned char)size, (unsigned char)kind, (unsigned char)flags};
  uint32_t number = htonl(stream);
  memcpy(head + 5, &number, 4);
  send(peer, head, 9, MSG_NOSIGNAL), send(peer, body, size, MSG_NOSIGNAL);
}

static int take(int peer, void *into, size_t size) {
  return size == 0 || recv(peer, into, size, MSG_WAITALL) == (ssize_t)size;
}

static void serve_grpc(int peer, int port) { /* HTTP/2 by prior knowledge: any call is SERVING */
  static const char HEAD[] = "\x88\x0f\x10\x10" "application/grpc"; /* :status 200, content-type */
  static const char TAIL[] = "\x00\x0bgrpc-status\x01" "0";
  unsigned char head[9], body[16384], preface[24];
  uint32_t stream = 0;
  char shown[1024] = "";
  if (!take(peer, preface, sizeof preface)) return;
  frame(peer, 0, 4, 0, 0, "");
  while (stream == 0 && take(peer, head, 9)) {
    size_t size = (size_t)(head[0] << 16 | head[1] << 8 | head[2]);
    if (size > sizeof body || !take(peer, body, size)) break;
    if (head[3] == 4 && !(head[4] & 1)) frame(peer, 0, 4, 1, 0, "");
    if (head[3] == 0) { /* the message: 5 bytes, then field 1, the service's name */
      for (size_t i = 7, to = 0; i < size && to < sizeof shown - 1; i++) shown[to++] = (char)body[i];
      if (head[4] & 1) memcpy(&stream, head + 5, 4), stream = ntohl(stream);
    }
  }
  if (stream != 0) {
    frame(peer, sizeof HEAD - 1, 1, 4, stream, HEAD);
    frame(peer, 7, 0, 0, stream, "\0\0\0\0\2\x08\1");
    frame(peer, sizeof TAIL - 1, 1, 5, stream, TAIL);
    while (recv(peer, body, sizeof body, 0) > 0) {}
  }
  asked("grpc", port, shown);
}

static int listen_on(int port) {
  struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
  struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
  int yes = 1, no = 0, at = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (at >= 0) {
    setsockopt(at, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    setsockopt(at, IPPROTO_IPV6, IPV6_V6ONLY, &no, sizeof no);
    if (bind(at, (void *)&six, sizeof six) == 0 && listen(at, 16) == 0) return at;
    close(at);
  }
  at = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  setsockopt(at, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  if (bind(at, (void *)&four, sizeof four) == 0 && listen(at, 16) == 0) return at;
  fprintf(stderr, "standin: cannot listen on %d: %s\n", port, strerror(errno));
  close(at);
  return -1;
}

static void answer(int peer, int port) {
  struct timeval most = {.tv_sec = 2};
  unsigned char first[4] = {0};
  setsockopt(peer, SOL_SOCKET, SO_RCVTIMEO, &most, sizeof most);
  ssize_t n = recv(peer, first, sizeof first, MSG_PEEK);
  if (n > 0 && first[0] == 0x16) serve_https(peer, port);
  else if (n >= 3 && memcmp(first, "PRI", 3) == 0) serve_grpc(peer, port);
  else serve_http(peer, port);
  close(peer);
}

static void hear(int box) {
  static char told[262144];
  ssize_t n;
  while ((n = recv(box, told, sizeof told - 1, MSG_DONTWAIT)) > 0) told[n] = 0, print(told);
}

static void live(int box) {
  struct pollfd all[MOST_PORTS + 1] = {{.fd = box, .events = POLLIN}};
  int numbers[MOST_PORTS + 1] = {0}, count = 1;
  char *rest = ports, *port;
  while ((port = strsep(&rest, ",")) != NULL && count <= MOST_PORTS) {
    int at = *port ? listen_on(atoi(port)) : -1;
    if (at >= 0) all[count].fd = at, all[count].events = POLLIN, numbers[count++] = atoi(port);
  }
  sigset_t none;
  sigemptyset(&none);
  while (!ended) {
    if (ppoll(all, (nfds_t)count, NULL, &none) <= 0) continue;
    if (all[0].revents) hear(box);
    for (int i = 1; i < count; i++)
      if (all[i].revents) {
        int peer = accept4(all[i].fd, NULL, NULL, SOCK_CLOEXEC);
        if (peer >= 0) answer(peer, numbers[i]);
      }
  }
  hear(box);
}

int main(int argc, char **argv, char **environ_) {
  struct sockaddr_un own = {.sun_family = AF_UNIX};
  struct stat mounts = {0};
  struct sigaction end = {.sa_handler = on_term};
  sigset_t term;
  sigemptyset(&term), sigaddset(&term, SIGTERM), sigaddset(&term, SIGINT);
  sigaction(SIGTERM, &end, NULL), sigaction(SIGINT, &end, NULL);
  sigprocmask(SIG_BLOCK, &term, NULL); /* it comes in ppoll only, so that none is missed */
  stat("/proc/self/ns/mnt", &mounts);
  int length = snprintf(own.sun_path + 1, 100, "standin.%lu", (unsigned long)mounts.st_ino);
  socklen_t size = (socklen_t)(sizeof own.sun_family + 1 + (size_t)length);
  int box = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (bind(box, (void *)&own, size) != 0) {
    strcpy(role, "exec");
    install(argc, argv);
    char *told = telling(argv, environ_, 0);
    if (sendto(box, told, strlen(told), 0, (void *)&own, size) < 0) print(told);
    return 0;
  }
  find_self(argc, argv);
  if (strcmp(role, "init") == 0) install(argc, argv);
  if (tls_setup()) fprintf(stderr, "standin: no TLS\n");
  char *told = telling(argv, environ_, 1);
  print(told);
  if (strcmp(role, "init") != 0) live(box);
  return 0;
}
