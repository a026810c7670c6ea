# The target fanfare::server: fanfare::fanfare and what the headers beyond the core need. The build of fanfare and the
# installed package both include this file, so there is one list of these dependencies.
#
# It sets fanfare_server_missing. The target exists if that is empty.
set(fanfare_server_missing "")

find_package(Boost 1.81 QUIET CONFIG COMPONENTS json)
if(NOT TARGET Boost::json)
  list(APPEND fanfare_server_missing "Boost >= 1.81 with Boost.JSON (libboost-json1.81-dev)")
endif()
find_package(OpenSSL QUIET COMPONENTS Crypto SSL)
if(NOT TARGET OpenSSL::SSL)
  list(APPEND fanfare_server_missing "OpenSSL (libssl-dev)")
endif()
find_path(FANFARE_ASIO_INCLUDE_DIR asio.hpp DOC "Where asio.hpp is: Asio without Boost")
if(NOT FANFARE_ASIO_INCLUDE_DIR)
  list(APPEND fanfare_server_missing "Asio without Boost (libasio-dev)")
endif()
find_path(FANFARE_WEBSOCKETPP_INCLUDE_DIR websocketpp/processors/hybi13.hpp DOC "Where websocketpp's headers are")
if(NOT FANFARE_WEBSOCKETPP_INCLUDE_DIR)
  list(APPEND fanfare_server_missing "websocketpp (libwebsocketpp-dev)")
endif()
mark_as_advanced(FANFARE_ASIO_INCLUDE_DIR FANFARE_WEBSOCKETPP_INCLUDE_DIR)

if(NOT fanfare_server_missing AND NOT TARGET fanfare::server)
  add_library(fanfare::server INTERFACE IMPORTED GLOBAL)
  target_link_libraries(fanfare::server INTERFACE fanfare::fanfare Boost::headers Boost::json OpenSSL::SSL OpenSSL::Crypto)
  target_include_directories(fanfare::server INTERFACE
    "${FANFARE_ASIO_INCLUDE_DIR}" "${FANFARE_WEBSOCKETPP_INCLUDE_DIR}")
  target_compile_definitions(fanfare::server INTERFACE ASIO_STANDALONE)
endif()
string(REPLACE ";" ", " fanfare_server_missing "${fanfare_server_missing}")
