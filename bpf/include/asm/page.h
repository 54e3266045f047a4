/* BCC sizes a ring in pages. The loader passes the page's size, which is the machine's and not the architecture's (arm64). */
#ifndef PAGE_SIZE
#error "PAGE_SIZE comes from the loader, by -D"
#endif
