/* xml.h - text in XML documents. */
#ifndef KILN_BASE_XML_H
#define KILN_BASE_XML_H

#include "base/buffer.h"

/* Appends text as character data or as an attribute's value in double quotes. What is no
 * Char of XML 1.0 (section 2.2), or no UTF-8, becomes U+FFFD. 0 or -ENOMEM. */
int kiln_xml_append(kiln_buffer *out, const char *text);

#endif
