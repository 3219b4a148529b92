# Puts what the daemon prints of its settings table in the place of the line @LIST@.
execute_process(COMMAND ${DAEMON} --print-manual-${LIST} OUTPUT_VARIABLE rows OUTPUT_STRIP_TRAILING_WHITESPACE
                COMMAND_ERROR_IS_FATAL ANY)
set(LIST "${rows}")
configure_file(${INPUT} ${OUTPUT} @ONLY)
