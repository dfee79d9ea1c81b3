package farewell

// mysqlError is an ERR packet in the place of the server's greeting, as a server that has too many connections sends it
// (https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_basic_err_packet.html).
func mysqlError(why Reason) []byte {
	code, state := uint16(1053), "08S01" // ER_SERVER_SHUTDOWN
	if why.Busy {
		code, state = 1040, "08004" // ER_CON_COUNT_ERROR
	}
	text := why.String()
	n := 3 + 1 + len(state) + len(text)
	b := []byte{byte(n), byte(n >> 8), byte(n >> 16), 0, 0xff, byte(code), byte(code >> 8), '#'}
	return append(append(b, state...), text...)
}
