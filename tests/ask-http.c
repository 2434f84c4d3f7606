/* SPDX-License-Identifier: Apache-2.0 */

/* ask-http.c - PORT PATH: what a pprofd on the loopback answers, on standard output; fails unless it is 200. For guests that have
 * nothing but a static busybox, whose wget wants the C library's modules. */

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	char line[8192];
	FILE *f;
	int fd, n;

	if (argc != 3)
		return 2;
	to.sin_port = htons((uint16_t)atoi(argv[1]));
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0)
		return 1;
	dprintf(fd, "GET %s HTTP/1.0\r\nHost: localhost:%s\r\n\r\n", argv[2], argv[1]);
	f = fdopen(fd, "r");
	if (!f || !fgets(line, sizeof(line), f) || !strstr(line, " 200 "))
		return 1;
	while (fgets(line, sizeof(line), f) && strcmp(line, "\r\n") != 0)
		;
	while ((n = (int)fread(line, 1, sizeof(line), f)) > 0)
		fwrite(line, 1, (size_t)n, stdout);
	fclose(f);
	return 0;
}
