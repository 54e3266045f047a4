/* BCC's helpers.h includes this file, and our programs use nothing of it. */
