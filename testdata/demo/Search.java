import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.nio.file.*;
import java.util.*;
import java.util.concurrent.Executors;
import java.util.stream.*;

/** A service as there are many: it reads its data when it starts, here the names of all classes of the JDK, and then answers searches. */
public class Search {
    final NavigableMap<String, List<String>> index = new TreeMap<>();

    Search() throws IOException {
        try (Stream<Path> all = Files.walk(FileSystems.getFileSystem(URI.create("jrt:/")).getPath("/modules"))) {
            all.map(Path::toString).filter(p -> p.endsWith(".class")).forEach(this::add);
        }
    }

    /** A class is found by the words of its name. */
    void add(String path) {
        String name = path.substring(path.lastIndexOf('/') + 1, path.length() - 6);
        for (String word : name.split("(?=\\p{Upper})|\\$")) {
            index.computeIfAbsent(word.toLowerCase(Locale.ROOT), k -> new ArrayList<>()).add(name);
        }
    }

    String find(String start) {
        List<String> found = index.subMap(start, true, start + '\uffff', false).values().stream()
            .flatMap(List::stream).distinct().sorted(Comparator.comparing(String::length).thenComparing(Comparator.naturalOrder()))
            .collect(Collectors.toList());
        return String.format(Locale.ROOT, "%d classes: %s%n", found.size(), found.stream().limit(5).collect(Collectors.joining(", ")));
    }

    void answer(HttpExchange http) throws IOException {
        byte[] text = find(Objects.toString(http.getRequestURI().getQuery(), "map")).getBytes(StandardCharsets.UTF_8);
        http.sendResponseHeaders(200, text.length);
        http.getResponseBody().write(text);
        http.close();
    }

    /** What is garbage now need not be in an image. */
    void tidy(HttpExchange http) throws IOException {
        System.gc();
        answer(http);
    }

    public static void main(String[] args) throws IOException {
        Search search = new Search();
        HttpServer server = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), Integer.parseInt(args[0])), 100);
        server.createContext("/", search::answer);
        server.createContext("/tidy", search::tidy);
        server.setExecutor(Executors.newFixedThreadPool(8));
        server.start();
    }
}
